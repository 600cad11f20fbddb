// SPDX-License-Identifier: MIT
#include "fuse/ops.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <limits>

#include "engine/context.h"
#include "fuse/open_file.h"
#include "fuse/requests.h"
#include "fuse/server.h"
#include "fuse/tree.h"

namespace tlsfs {
namespace {

// Who may know of a connection depends on who asks, so its name is asked for every time; what lies
// below is behind the directory's mode.
constexpr double kNever = 0;
constexpr double kForEver = 86400;

Server& server_of(fuse_req_t req) {
    return *static_cast<Server*>(fuse_req_userdata(req));
}

uid_t caller_uid(fuse_req_t req) {
    return fuse_req_ctx(req)->uid;
}

OpenFile& file_of(const fuse_file_info* info) {
    return *reinterpret_cast<OpenFile*>(info->fh);
}

std::shared_ptr<Connection> connection_of(fuse_req_t req, Place place) {
    if (place.node < Node::directory) return nullptr;
    return server_of(req).registry().find(place.number, caller_uid(req));
}

// The module's device in place of our file, where it is the module that serves it.
Place resolve(fuse_req_t req, Place place) {
    if (server_of(req).agent() == nullptr) return place;
    if (place.node == Node::data) {
        const auto connection = connection_of(req, place);
        if (connection && connection->data_is_ours()) return place;
    }
    place.node = in_kernel(place.node);
    return place;
}

dev_t device_of(fuse_req_t req, Place place) {
    const Agent* agent = server_of(req).agent();
    if (agent == nullptr) return 0;
    const tlsdev_info& info = agent->info();
    switch (place.node) {
        case Node::kernel_clone:
            return makedev(info.clone_major, info.clone_minor);
        case Node::kernel_ctl:
            return makedev(info.ctl_major, place.number);
        case Node::kernel_data:
            return makedev(info.data_major, place.number);
        default:
            return 0;
    }
}

bool exists(fuse_req_t req, Place place) {
    if (place.node == Node::attach) return server_of(req).attach_node().is_bound();
    // Who sees clone may go on to attach.
    if (place.node == Node::clone || place.node == Node::kernel_clone) {
        return server_of(req).attach_node().is_listening();
    }
    return place.node < Node::directory || connection_of(req, place) != nullptr;
}

struct stat attributes_for(fuse_req_t req, Place place) {
    Server& server = server_of(req);
    Owner owner{geteuid(), getegid()};
    if (const auto connection = connection_of(req, place)) {
        owner = {connection->owner().uid, connection->owner().gid};
    }
    return attributes(place, owner, device_of(req, place), server.since());
}

void reply_entry(fuse_req_t req, Place place) {
    place = resolve(req, place);
    if (!exists(req, place)) return void(fuse_reply_err(req, ENOENT));
    if (has_instances(place.node)) place.instance = server_of(req).fresh_instance();
    fuse_entry_param entry{};
    entry.ino = inode_of(place);
    entry.attr = attributes_for(req, place);
    entry.attr_timeout = kForEver;
    const bool changes = place.node == Node::directory || place.node == Node::kernel_data ||
                         has_instances(place.node);
    entry.entry_timeout = changes ? kNever : kForEver;
    fuse_reply_entry(req, &entry);
}

void init(void*, fuse_conn_info* connection) {
    // Requests are taken as memory: what they bring is encrypted, or wiped, where it lies.
    connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                                               FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA);
    // Without it O_TRUNC is a SETATTR, which waits for the inode's lock behind every writer.
    connection->want |= connection->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    connection->max_write = 1U << 20U;
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
    const Place where = place_of(parent);
    if (where.node == Node::directory) {
        const NodeEntry* entry = find_entry(connection_entries(), name);
        if (entry == nullptr) return void(fuse_reply_err(req, ENOENT));
        return reply_entry(req, {entry->node, where.number});
    }
    if (const NodeEntry* entry = find_entry(top_entries(), name)) {
        return reply_entry(req, {entry->node});
    }
    const auto number = parse_number(name);
    if (!number) return void(fuse_reply_err(req, ENOENT));
    reply_entry(req, {Node::directory, *number});
}

void getattr(fuse_req_t req, fuse_ino_t inode, fuse_file_info*) {
    const Place place = place_of(inode);
    // An open file may outlive its name; it is still a file.
    const struct stat attr = attributes_for(req, place);
    fuse_reply_attr(req, &attr, kForEver);
}

void setattr(fuse_req_t req, fuse_ino_t inode, struct stat*, int what, fuse_file_info*) {
    constexpr int kHarmless = FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                              FUSE_SET_ATTR_CTIME | FUSE_SET_ATTR_ATIME_NOW |
                              FUSE_SET_ATTR_MTIME_NOW;
    if ((what & ~kHarmless) != 0) return void(fuse_reply_err(req, EPERM));
    getattr(req, inode, nullptr);
}

// The only thing that is ever made here is our own attach socket, by bind(2).
void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t) {
    const bool ours = place_of(parent).node == Node::root && S_ISSOCK(mode) &&
                      find_entry(top_entries(), name) == &entry_of(Node::attach) &&
                      server_of(req).attach_node().binding(fuse_req_ctx(req)->pid);
    if (!ours) return void(fuse_reply_err(req, EPERM));
    reply_entry(req, {Node::attach});
}

struct Opened {
    std::unique_ptr<OpenFile> file;
    int error = 0;
};

Opened open_failed(int error) {
    return {nullptr, error};
}

Opened open_clone(fuse_req_t req) {
    const fuse_ctx& caller = *fuse_req_ctx(req);
    Registry& registry = server_of(req).registry();
    auto made = registry.create({caller.uid, caller.gid});
    if (!made) return open_failed(made.error().code);
    return {tlsfs::open_ctl(registry, std::move(*made), {caller.uid, caller.gid})};
}

Opened open_stream(fuse_req_t req, const std::shared_ptr<Connection>& connection, Node node) {
    const fuse_ctx& caller = *fuse_req_ctx(req);
    Registry& registry = server_of(req).registry();
    if (node == Node::data) {
        if (const auto ready = connection->open_data(); !ready)
            return open_failed(ready.error().code);
    }
    if (!connection->opened()) return open_failed(ENOENT);
    if (node == Node::data) return {tlsfs::open_data(registry, connection)};
    return {tlsfs::open_ctl(registry, connection, {caller.uid, caller.gid})};
}

Opened open_pem_file(const std::shared_ptr<Connection>& connection, PemFile file, int flags) {
    if (const auto begun = connection->pem_begin(file, (flags & O_APPEND) != 0); !begun) {
        return open_failed(begun.error().code);
    }
    return {open_pem(connection, file)};
}

Opened open_place(fuse_req_t req, Place place, int flags) {
    switch (place.node) {
        case Node::clone:
            return open_clone(req);
        case Node::ciphers:
            return {open_text(cipher_names(first_settings(*server_of(req).registry().policy())))};
        case Node::engines:
            return {open_text(server_of(req).engines())};
        case Node::attach:
            return open_failed(ENXIO);
        default:
            break;
    }
    const auto connection = connection_of(req, place);
    if (!connection) return open_failed(ENOENT);
    switch (place.node) {
        case Node::ctl:
        case Node::data:
            return open_stream(req, connection, place.node);
        case Node::ca:
            return open_pem_file(connection, PemFile::ca, flags);
        case Node::cert:
            return open_pem_file(connection, PemFile::cert, flags);
        case Node::key:
            return open_pem_file(connection, PemFile::key, flags);
        case Node::status:
            return {open_text(connection->status())};
        case Node::stats:
            return {open_text(connection->stats())};
        case Node::peer: {
            auto chain = connection->peer();
            if (!chain) return open_failed(chain.error().code);
            return {open_text(std::move(*chain))};
        }
        default:
            return open_failed(EISDIR);
    }
}

void open(fuse_req_t req, fuse_ino_t inode, fuse_file_info* info) {
    Opened opened = open_place(req, place_of(inode), info->flags);
    if (!opened.file) return void(fuse_reply_err(req, opened.error));
    // libfuse has no name for FOPEN_STREAM, so the kernel gets its answer as it is on the wire.
    fuse_open_out answer{};
    answer.open_flags = opened.file->open_flags();
    OpenFiles& files = server_of(req).open_files();
    answer.fh = files.add(std::move(opened.file));
    // An open that was interrupted is no open: there will be no RELEASE.
    if (fuse_reply_buf(req, reinterpret_cast<const char*>(&answer), sizeof answer) != 0) {
        files.remove(answer.fh);
    }
}

void release(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
    server_of(req).open_files().remove(info->fh);
    fuse_reply_err(req, 0);
}

void read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
    file_of(info).read(req, size, offset, (info->flags & O_NONBLOCK) != 0);
}

void write(fuse_req_t req, fuse_ino_t, const char* data, size_t size, off_t, fuse_file_info* info) {
    file_of(info).write(req, std::as_bytes(std::span(data, size)), (info->flags & O_NONBLOCK) != 0);
}

void flush(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
    file_of(info).flush(req);
}

void poll(fuse_req_t req, fuse_ino_t, fuse_file_info* info, fuse_pollhandle* handle) {
    file_of(info).poll(req, info->poll_events, make_poller(handle));
}

void opendir(fuse_req_t req, fuse_ino_t inode, fuse_file_info* info) {
    if (!exists(req, place_of(inode))) return void(fuse_reply_err(req, ENOENT));
    fuse_reply_open(req, info);
}

class DirectoryListing {
 public:
    DirectoryListing(fuse_req_t req, size_t size, off_t offset)
        : req_(req), buffer_(size), offset_(offset) {}

    void add(const std::string& name, Place unresolved) {
        const Place place = resolve(req_, unresolved);
        if (next_++ < offset_ || full_) return;
        struct stat attr{};
        attr.st_ino = inode_of(place);
        attr.st_mode = entry_of(place.node).mode;
        const size_t size = fuse_add_direntry(req_, buffer_.data() + used_, buffer_.size() - used_,
                                              name.c_str(), &attr, next_);
        full_ = size > buffer_.size() - used_;
        if (!full_) used_ += size;
    }
    void add(std::span<const NodeEntry> entries, std::uint32_t number) {
        for (const NodeEntry& entry : entries) {
            add(std::string(entry.name), {entry.node, number});
        }
    }
    void reply() { fuse_reply_buf(req_, buffer_.data(), used_); }

 private:
    fuse_req_t req_;
    std::vector<char> buffer_;
    off_t offset_, next_ = 0;
    size_t used_ = 0;
    bool full_ = false;
};

void readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info*) {
    const Place place = place_of(inode);
    DirectoryListing listing(req, size, offset);
    listing.add(".", place);
    listing.add("..", {});
    if (place.node == Node::directory) {
        if (connection_of(req, place)) listing.add(connection_entries(), place.number);
    } else {
        listing.add(top_entries(), 0);
        for (const auto number : server_of(req).registry().list(caller_uid(req))) {
            listing.add(std::to_string(number), {Node::directory, number});
        }
    }
    listing.reply();
}

constexpr fuse_lowlevel_ops make_operations() {
    fuse_lowlevel_ops ops{};
    ops.init = init;
    ops.lookup = lookup;
    ops.getattr = getattr;
    ops.setattr = setattr;
    ops.mknod = mknod;
    ops.open = open;
    ops.read = read;
    ops.write = write;
    ops.flush = flush;
    ops.release = release;
    ops.opendir = opendir;
    ops.readdir = readdir;
    ops.poll = poll;
    return ops;
}

}  // namespace

const fuse_lowlevel_ops& operations() {
    static constexpr fuse_lowlevel_ops ops = make_operations();
    return ops;
}

}  // namespace tlsfs
