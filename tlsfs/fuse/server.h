// SPDX-License-Identifier: MIT
// A mount and all that serves it: FUSE's workers, the reactor's threads, the attach socket.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/agent.h"
#include "attach/front.h"
#include "connection/companion.h"
#include "fuse/attach_node.h"
#include "fuse/lowlevel.h"
#include "fuse/mount_watch.h"
#include "fuse/open_file.h"

namespace tlsfs {

struct ServerOptions {
    std::string mount_point;
    std::vector<std::string> mount_options;  // beside ours, as -o takes them
    bool all_users = false;                  // a system mount
    Policy policy;                           // at first
};

class Server final : public Service {
 public:
    // Mounts. The errno of what went wrong.
    [[nodiscard]] static Result<std::unique_ptr<Server>> mount(ServerOptions options, Log& log);
    ~Server() override;

    // Starts to answer; when it returns the whole tree is there. `on_unmount` is called, on a
    // thread of the server, when the mount has gone by other hands.
    [[nodiscard]] Result<> start(std::function<void()> on_unmount);
    // For the connections from now on. Its trust store is read anew, for every handshake to come.
    void set_policy(const Policy& policy) override;
    // Ends every connection, answers everybody who waits, and unmounts.
    void stop() override;

    // For the operations (ops.cc) and requests of this mount.
    Registry& registry() override { return companion_.registry(); }
    AttachNode& attach_node() { return attach_node_; }
    // Null without the kernel module, and on a private mount.
    [[nodiscard]] const Agent* agent() const { return agent_.get(); }
    OpenFiles& open_files() { return open_files_; }
    [[nodiscard]] std::string engines() const;  // what the file says
    void signalled(Connection::Number number);
    [[nodiscard]] std::uint32_t fresh_instance() { return fresh_instance_++; }
    [[nodiscard]] time_t since() const { return since_; }

 private:
    Server(ServerOptions options, Log& log);
    [[nodiscard]] Result<> mount();
    [[nodiscard]] Result<> open_attach();
    void work();
    void stop_workers();

    const ServerOptions options_;
    Log& log_;
    const time_t since_ = time(nullptr);
    fuse_session* session_ = nullptr;
    UniqueFd unmounter_;

    Companion companion_;
    OpenFiles open_files_;
    AttachNode attach_node_;
    std::shared_ptr<AttachFront> attach_;
    std::shared_ptr<Agent> agent_;
    std::shared_ptr<MountWatch> mount_watch_;

    std::atomic<std::uint32_t> fresh_instance_ = 0;
    std::function<void()> on_unmount_;
    std::atomic<bool> stopping_ = false;
    std::atomic<int> working_ = 0;
    std::vector<std::thread> workers_;
};

}  // namespace tlsfs
