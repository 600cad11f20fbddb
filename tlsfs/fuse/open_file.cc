// SPDX-License-Identifier: MIT
#include "fuse/open_file.h"

#include <linux/fuse.h>
#include <poll.h>

#include <atomic>

#include "connection/caller.h"
#include "fuse/next_request.h"
#include "fuse/requests.h"

namespace tlsfs {
namespace {

// STREAM: no file position, hence no lock on it that a waiting reader could hold against a writer.
// PARALLEL_DIRECT_WRITES: the same for two writers. NOFLUSH: a FLUSH at every close of a dup could
// only do harm.
constexpr std::uint32_t kStreamFlags = FOPEN_DIRECT_IO | FOPEN_STREAM | FOPEN_NONSEEKABLE |
                                       FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES;

void reply_part(fuse_req_t req, std::string_view text, std::size_t from, std::size_t size) {
    const std::string_view part = from < text.size() ? text.substr(from, size) : "";
    fuse_reply_buf(req, part.data(), part.size());
}

// As soon as a caller has its answer it may close the file: what is done for a request holds on to
// what it needs by itself.

class CtlFile final : public OpenFile {
 public:
    CtlFile(Registry& registry, std::shared_ptr<Connection> connection, Caller opener)
        : OpenFile(kStreamFlags),
          registry_(registry),
          connection_(std::move(connection)),
          opener_(opener),
          number_(std::to_string(connection_->number()) + "\n") {}
    CtlFile(const CtlFile&) = delete;
    CtlFile& operator=(const CtlFile&) = delete;
    ~CtlFile() override {
        connection_->forget_poller(this);
        registry_.release(connection_);
    }

    // The number once, then the end: a stream has no position, so the place is kept here.
    void read(fuse_req_t req, std::size_t size, off_t, bool) override {
        const std::string number = number_;
        const std::size_t from = read_.fetch_add(std::min(size, number.size()));
        reply_part(req, number, from, size);
    }

    // A program with more rights than its caller may have been handed this descriptor as a place
    // for its output, or led here by a symbolic link. What it writes is not what it means.
    void write(fuse_req_t req, std::span<const std::byte> data, bool nonblocking) override {
        const fuse_ctx& writer = *fuse_req_ctx(req);
        const auto connection = connection_;
        const Caller caller{writer.uid, writer.gid};
        const std::string_view lines(reinterpret_cast<const char*>(data.data()), data.size());
        if (caller != opener_ || !may_command(caller, connection->owner(), lines)) {
            fuse_reply_err(req, EPERM);
            return;
        }
        connection->ctl(make_ctl(req, connection->number(), nonblocking, data, opener_));
    }

    void poll(fuse_req_t req, std::uint32_t, std::unique_ptr<Poller> poller) override {
        fuse_reply_poll(req, connection_->poll_ctl(this, std::move(poller)));
    }

 private:
    Registry& registry_;
    std::shared_ptr<Connection> connection_;
    Caller opener_;
    std::string number_;
    std::atomic<std::size_t> read_ = 0;
};

class DataFile final : public OpenFile {
 public:
    DataFile(Registry& registry, std::shared_ptr<Connection> connection)
        : OpenFile(kStreamFlags), registry_(registry), connection_(std::move(connection)) {}
    DataFile(const DataFile&) = delete;
    DataFile& operator=(const DataFile&) = delete;
    ~DataFile() override {
        connection_->data().forget_poller(this);
        registry_.release(connection_);
    }

    void read(fuse_req_t req, std::size_t size, off_t, bool nonblocking) override {
        const auto connection = connection_;
        if (!was_read_.exchange(true) || size >= kBulk) expect_next_request();
        connection->data().read(make_read(req, connection->number(), nonblocking, size));
    }
    void write(fuse_req_t req, std::span<const std::byte> data, bool nonblocking) override {
        const auto connection = connection_;
        if (was_read_.exchange(false) || data.size() >= kBulk) expect_next_request();
        connection->data().write(make_write(req, connection->number(), nonblocking, data));
    }
    void poll(fuse_req_t req, std::uint32_t wanted, std::unique_ptr<Poller> poller) override {
        fuse_reply_poll(req, connection_->data().poll(this, wanted, std::move(poller)));
    }

 private:
    // Bytes of a request from which on a stream of such requests is likely.
    static constexpr std::size_t kBulk = 64U << 10U;

    Registry& registry_;
    std::shared_ptr<Connection> connection_;
    std::atomic<bool> was_read_ = false;
};

class PemOpenFile final : public OpenFile {
 public:
    PemOpenFile(std::shared_ptr<Connection> connection, PemFile file)
        : OpenFile(FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE),
          connection_(std::move(connection)),
          file_(file) {}

    void write(fuse_req_t req, std::span<const std::byte> data, bool) override {
        const auto written = connection_->pem_write(
            file_, {reinterpret_cast<const char*>(data.data()), data.size()});
        // The bytes lie in libfuse's buffer, which is neither read-only nor wiped by anybody else.
        explicit_bzero(const_cast<std::byte*>(data.data()), data.size());
        if (written) {
            fuse_reply_write(req, data.size());
        } else {
            fuse_reply_err(req, written.error().code);
        }
    }
    void flush(fuse_req_t req) override {
        const auto finished = connection_->pem_finish(file_);
        fuse_reply_err(req, finished ? 0 : finished.error().code);
    }

 private:
    std::shared_ptr<Connection> connection_;
    PemFile file_;
};

class TextFile final : public OpenFile {
 public:
    explicit TextFile(std::string text)
        : OpenFile(FOPEN_DIRECT_IO | FOPEN_NOFLUSH),
          text_(std::make_shared<const std::string>(std::move(text))) {}
    void read(fuse_req_t req, std::size_t size, off_t offset, bool) override {
        const auto text = text_;
        reply_part(req, *text, static_cast<std::size_t>(offset), size);
    }

 private:
    std::shared_ptr<const std::string> text_;
};

}  // namespace

void OpenFile::read(fuse_req_t req, std::size_t, off_t, bool) {
    fuse_reply_err(req, EBADF);
}
void OpenFile::write(fuse_req_t req, std::span<const std::byte>, bool) {
    fuse_reply_err(req, EBADF);
}
void OpenFile::flush(fuse_req_t req) {
    fuse_reply_err(req, 0);
}
void OpenFile::poll(fuse_req_t req, std::uint32_t, std::unique_ptr<Poller>) {
    fuse_reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);  // as every regular file
}

std::unique_ptr<OpenFile> open_ctl(Registry& registry, std::shared_ptr<Connection> connection,
                                   Caller opener) {
    return std::make_unique<CtlFile>(registry, std::move(connection), opener);
}

std::unique_ptr<OpenFile> open_data(Registry& registry, std::shared_ptr<Connection> connection) {
    return std::make_unique<DataFile>(registry, std::move(connection));
}

std::unique_ptr<OpenFile> open_pem(std::shared_ptr<Connection> connection, PemFile file) {
    return std::make_unique<PemOpenFile>(std::move(connection), file);
}

std::unique_ptr<OpenFile> open_text(std::string text) {
    return std::make_unique<TextFile>(std::move(text));
}

}  // namespace tlsfs
