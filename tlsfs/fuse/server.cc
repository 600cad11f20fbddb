// SPDX-License-Identifier: MIT
#include "fuse/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

#include "core/status.h"
#include "fuse/next_request.h"
#include "fuse/ops.h"
#include "fuse/unmounter.h"

namespace tlsfs {
namespace {

constexpr int kWakeSignal = SIGUSR1;  // ends a worker's wait for the next request

class FuseArguments {
 public:
    FuseArguments(const ServerOptions& options, bool devices) {
        add("tlsfs");
        // The kernel checks modes and owners.
        add("-odefault_permissions,fsname=tlsfs,subtype=tlsfs");
        if (options.all_users) add("-oallow_other");
        if (devices) add("-odev");  // or the kernel would not open what clone and data stand for
        for (const std::string& option : options.mount_options) add("-o" + option);
    }
    FuseArguments(const FuseArguments&) = delete;
    FuseArguments& operator=(const FuseArguments&) = delete;
    ~FuseArguments() { fuse_opt_free_args(&args_); }
    fuse_args* get() { return &args_; }

 private:
    void add(const std::string& argument) { fuse_opt_add_arg(&args_, argument.c_str()); }
    fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

// The module is the system mount's. ENOENT: it is not there, which is no failure.
Result<AgentDevice> open_module(const ServerOptions& options) {
    if (!options.all_users) return failure(ENOENT, "a private mount");
    return AgentDevice::open();
}

bool is_served(const std::string& mount_point) {
    struct statfs info{};
    return statfs(mount_point.c_str(), &info) == 0 && info.f_type == FUSE_SUPER_MAGIC &&
           access((mount_point + "/clone").c_str(), F_OK) == 0;
}

// libfuse speaks as it pleases. What it says while mounting is the cause of our own one line; later
// it is a line of its own.
class FuseLog {
 public:
    explicit FuseLog(Log& log) {
        log_ = &log;
        last_.clear();
        fuse_set_log_func(note);
    }
    FuseLog(const FuseLog&) = delete;
    FuseLog& operator=(const FuseLog&) = delete;
    ~FuseLog() { fuse_set_log_func(print); }
    [[nodiscard]] static std::string cause(const std::string& otherwise) {
        return last_.empty() ? otherwise : printable(last_);
    }

 private:
    static std::string format(const char* form, va_list arguments) {
        std::array<char, 1024> line{};
        vsnprintf(line.data(), line.size(), form, arguments);
        std::string text = line.data();
        while (text.ends_with('\n')) text.pop_back();
        return text;
    }
    static void note(fuse_log_level, const char* form, va_list arguments) {
        last_ += format(form, arguments);  // it says one line in several calls
    }
    static void print(fuse_log_level, const char* form, va_list arguments) {
        log_->say_for(0, LogLevel::error, format(form, arguments));  // who causes it is unknown
    }
    static inline std::string last_;  // one mount is made, by one thread
    static inline Log* log_ = nullptr;
};

Result<dev_t> device_of(const std::string& mount_point) {
    struct statx info{};
    // DONT_SYNC: nobody answers yet.
    if (statx(AT_FDCWD, mount_point.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &info) != 0) {
        return system_failure(mount_point);
    }
    return makedev(info.stx_dev_major, info.stx_dev_minor);
}

}  // namespace

Server::Server(ServerOptions options, Log& log)
    : options_(std::move(options)), log_(log), companion_(options_.policy, log) {}

Server::~Server() {
    stop();
    if (session_ != nullptr) fuse_session_destroy(session_);
}

Result<std::unique_ptr<Server>> Server::mount(ServerOptions options, Log& log) {
    std::unique_ptr<Server> server(new Server(std::move(options), log));
    if (auto mounted = server->mount(); !mounted) return tl::unexpected(mounted.error());
    return server;
}

Result<> Server::mount() {
    clear_dead_mount(options_.mount_point);
    if (is_served(options_.mount_point)) {
        return failure(EBUSY, options_.mount_point + " is served already");
    }
    auto tie = unmount_after_death(options_.mount_point);
    if (!tie) return tl::unexpected(tie.error());
    unmounter_ = std::move(*tie);
    const FuseLog fuse_log(log_);
    auto module = open_module(options_);
    FuseArguments arguments(options_, module.has_value());
    session_ = fuse_session_new(arguments.get(), &operations(), sizeof(fuse_lowlevel_ops), this);
    if (session_ == nullptr) return failure(EINVAL, FuseLog::cause("mount options"));
    errno = 0;
    if (fuse_session_mount(session_, options_.mount_point.c_str()) != 0) {
        const int code = errno != 0 ? errno : EIO;
        return failure(code, FuseLog::cause("cannot mount on " + options_.mount_point));
    }
    const auto device = device_of(options_.mount_point);
    if (!device) return tl::unexpected(device.error());
    companion_.prepare(options_.policy, *device);
    if (module) {
        agent_ = std::make_shared<Agent>(std::move(*module), companion_.reactor(), registry());
        agent_->limit(options_.policy.limits);
    } else if (module.error().code != ENOENT) {
        log_.say(LogLevel::warning, "without the kernel's engine: " + module.error().text);
    }
    AttachFront::Options attach;
    attach.all_users = options_.all_users;
    attach.data_sockets = companion_.has_data_sockets();
    attach.engines = [this] { return engines(); };
    attach_ = std::make_shared<AttachFront>(companion_.reactor(), companion_.background(),
                                            registry(), std::move(attach));
    return {};
}

Result<> Server::start(std::function<void()> on_unmount) {
    on_unmount_ = std::move(on_unmount);
    struct sigaction action{};
    action.sa_handler = [](int) {};  // no SA_RESTART: a blocked read(2) is to end
    sigaction(kWakeSignal, &action, nullptr);
    // One that is encrypting is not there for the next request, nor is one that waits for it to go
    // on with the same stream.
    const unsigned workers = 3 * Companion::threads_wanted();
    working_ = static_cast<int>(workers);
    for (unsigned i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
    companion_.start();
    if (agent_) agent_->start();
    if (auto opened = open_attach(); !opened) return opened;
    // Unmounted by hand: with attach closed, and the last connection, the kernel lets the mount go.
    auto watch = MountWatch::start(companion_.reactor(), options_.mount_point,
                                   [attach = attach_] { attach->close(); });
    if (!watch) return tl::unexpected(watch.error());
    mount_watch_ = std::move(*watch);
    return {};
}

Result<> Server::open_attach() {
    auto socket = AttachFront::make_socket();
    if (!socket) return tl::unexpected(socket.error());
    if (auto bound = attach_node_.bind(socket->get(), options_.mount_point); !bound) return bound;
    if (auto listening = attach_->listen(std::move(*socket)); !listening) return listening;
    attach_node_.listening();
    return {};
}

std::string Server::engines() const {
    std::string text = "user " + openssl_version() + "\n";
    if (agent_) text += fmt::format("kernel tlsdev {}\n", agent_->info().version);
    return text;
}

void Server::set_policy(const Policy& policy) {
    companion_.set_policy(policy);
    if (agent_) agent_->limit(policy.limits);
}

void Server::work() {
    fuse_buf request{};
    while (!stopping_) {
        const int size = fuse_session_receive_buf(session_, &request);
        if (size == -EINTR || size == -EAGAIN) continue;
        if (size <= 0) break;
        fuse_session_process_buf(session_, &request);
        look_out_for_request(fuse_session_fd(session_));
    }
    free(request.mem);
    --working_;
    if (!stopping_.exchange(true) && on_unmount_) on_unmount_();
}

void Server::stop_workers() {
    stopping_ = true;
    // A signal between the check and the read is lost: hence again and again.
    while (working_ > 0) {
        for (std::thread& worker : workers_) pthread_kill(worker.native_handle(), kWakeSignal);
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
}

// In this order, because an answer that comes after the unmount would go to a closed descriptor.
void Server::stop() {
    if (session_ == nullptr || !companion_.is_prepared()) return;
    attach_->close();
    if (agent_) agent_->stop();
    if (mount_watch_) mount_watch_->stop();
    companion_.stop();
    stop_workers();
    open_files_.clear();
    fuse_session_unmount(session_);
    fuse_session_destroy(session_);
    session_ = nullptr;
}

void Server::signalled(Connection::Number number) {
    companion_.reactor().post([this, number] {
        constexpr uid_t kAnybody = 0;
        if (const auto connection = registry().find(number, kAnybody)) connection->signalled();
    });
}

}  // namespace tlsfs
