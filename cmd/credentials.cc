// SPDX-License-Identifier: MIT
#include "credentials.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "opening.h"
#include "plan.h"

namespace tlsfs::cmd {
namespace {

struct NamedFile {
    std::string_view verb;  // of ctl, with which messages about it begin
    std::string* name;
};

std::vector<NamedFile> named_files(RoleOptions& options) {
    if (auto* client = std::get_if<ClientOptions>(&options)) {
        return {{"ca", &client->ca_file}, {"cert", &client->cert_file}, {"key", &client->key_file}};
    }
    auto& server = std::get<ServerOptions>(options);
    return {{"ca", &server.client_ca_file}, {"cert", &server.cert_file}, {"key", &server.key_file}};
}

Result<internal::Plan> plan_for(const RoleOptions& role, const std::string& host) {
    const auto* client = std::get_if<ClientOptions>(&role);
    if (client == nullptr) return internal::plan_server(std::get<ServerOptions>(role));
    ClientOptions options = *client;
    if (options.name.empty()) options.name = host;
    return internal::plan_client(options, {});
}

std::string path_of(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

std::shared_ptr<const Credentials> Credentials::load(const RoleOptions& options, Failure& why) {
    const std::shared_ptr<Credentials> loaded(new Credentials(options));
    why = loaded->open_all();
    if (why) return nullptr;
    why = std::visit([](const auto& role) { return check(role); }, loaded->options_);
    if (!why) return loaded;
    why = loaded->with_names(std::move(why));
    return nullptr;
}

Failure Credentials::open_all() {
    for (const auto& [verb, name] : named_files(options_)) {
        if (name->empty()) continue;
        if (Failure why = open(verb, *name)) return why;
    }
    return {};
}

Failure Credentials::open(std::string_view verb, std::string& name) {
    // A pipe could be read by one handshake only, and must not be waited for.
    UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid()) return {errno, name + ": " + std::strerror(errno)};
    struct stat info{};
    if (fstat(fd.get(), &info) != 0) return {errno, name + ": " + std::strerror(errno)};
    if (!S_ISREG(info.st_mode)) return {EINVAL, name + ": not a regular file"};
    const std::string path = path_of(fd.get());
    files_.push_back({std::move(fd), std::string(verb) + ":", std::exchange(name, path)});
    return {};
}

Result<Credentials::Request> Credentials::begin(std::string_view first_line,
                                                const std::string& host) const {
    const auto plan = plan_for(options_, host);
    if (!plan) return tl::unexpected(plan.error());
    auto request = internal::begin_request(first_line, *plan);
    if (!request) return tl::unexpected(request.error());
    return Request{std::move(*request), plan->start};
}

std::string Credentials::explain(const Error& error) const {
    return with_names({error.code, error.text}).text;
}

// A message is to name the file as its owner does. The companion knows it by its verb.
Failure Credentials::with_names(Failure why) const {
    for (const File& file : files_) {
        for (const std::string& said : {path_of(file.fd.get()) + ":", file.verb}) {
            if (why.text.starts_with(said)) why.text.replace(0, said.size(), file.name + ":");
        }
    }
    if (why.text.empty()) why.text = std::strerror(why.code);
    return why;
}

}  // namespace tlsfs::cmd
