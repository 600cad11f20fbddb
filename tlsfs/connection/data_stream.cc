// SPDX-License-Identifier: MIT
#include "connection/data_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <numeric>

#include "core/bounds.h"

namespace tlsfs {
namespace {

constexpr std::size_t kMaxRead = 1U << 20U;  // FUSE's largest request

// One a thread: plaintext passes through, and is nobody's once the answer is given.
std::span<std::byte> read_buffer(std::size_t size) {
    thread_local const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kMaxRead);
    return {buffer.get(), std::min(size, kMaxRead)};
}

// How many bytes went in; -1 and errno where none did.
ssize_t put(int fd, std::span<const std::byte> bytes) {
    return send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool is_full(ssize_t sent) {
    return sent < 0 && (errno == EAGAIN || errno == EINTR);
}

}  // namespace

void DataStream::read(std::unique_ptr<ReadRequest> request) {
    bool interrupted = false;
    {
        std::unique_lock guard(lock_);
        if (request->nonblocking() && !readers_.empty()) {
            guard.unlock();
            return request->fail(EAGAIN);  // whatever comes is for those who wait
        }
        readers_.push_back(std::move(request));
    }
    serve_readers();
    {
        // A signal that came before the request was parked has told nobody but the request.
        const std::scoped_lock guard(lock_);
        interrupted = !readers_.empty() && readers_.back()->interrupted();
    }
    if (interrupted) signalled();
}

// Answers as many parked readers as there are bytes for. The lock is let go for every answer, so
// that a megabyte on its way to the kernel blocks nobody else.
void DataStream::serve_readers() {
    bool taken = false;
    std::unique_lock guard(lock_);
    while (!serving_ && !readers_.empty()) {
        const auto buffer = read_buffer(readers_.front()->size());
        const ssize_t got = recv(end_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        const bool nothing = got < 0 && (errno == EAGAIN || errno == EINTR);
        if (nothing && !readers_.front()->nonblocking()) break;
        const auto request = std::move(readers_.front());
        readers_.pop_front();
        serving_ = true;
        guard.unlock();
        if (got > 0) {
            request->reply(buffer.first(static_cast<std::size_t>(got)));
        } else if (nothing) {
            request->fail(EAGAIN);
        } else if (const int code = backend_.end_code(); code != 0) {
            request->fail(code);
        } else {
            request->reply({});
        }
        taken = taken || got > 0;
        guard.lock();
        serving_ = false;
    }
    guard.unlock();
    if (taken) backend_.relay();
}

void DataStream::write(std::unique_ptr<WriteRequest> request) {
    {
        Answers answers;
        const std::scoped_lock guard(lock_);
        const auto data = request->data();
        const bool must_wait = !writers_.empty();
        if (must_wait && request->nonblocking()) return answers.fail(std::move(request), EAGAIN);
        const ssize_t sent = must_wait ? 0 : put(end_.get(), data);
        if (sent < 0 && !is_full(sent))
            return answers.fail(std::move(request), backend_.write_code());
        const auto count = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
        if (count == data.size() || (request->nonblocking() && count > 0)) {
            answers.reply(std::move(request), count);
        } else if (request->nonblocking()) {
            answers.fail(std::move(request), EAGAIN);
        } else if (parked_bytes() + data.size() - count > bounds::kWaitingWrites) {
            if (count > 0) return answers.reply(std::move(request), count);
            answers.fail(std::move(request), ENOBUFS);
        } else {
            const auto rest = data.subspan(count);
            const bool interrupted = request->interrupted();
            writers_.push_back({std::move(request), {rest.begin(), rest.end()}});
            if (interrupted) answer_interrupted(writers_.back(), answers);
            if (interrupted) writers_.pop_back();
        }
    }
    backend_.relay();
}

std::size_t DataStream::parked_bytes() const {
    return std::accumulate(
        writers_.begin(), writers_.end(), std::size_t{0},
        [](std::size_t sum, const ParkedWrite& parked) { return sum + parked.rest.size(); });
}

// What went in is in the stream: a signal cannot take it back.
void DataStream::answer_interrupted(ParkedWrite& parked, Answers& answers) {
    const std::size_t taken = parked.request->size() - parked.rest.size();
    if (taken > 0) {
        answers.reply(std::move(parked.request), taken);
    } else {
        answers.fail(std::move(parked.request), EINTR);
    }
}

// Goes on with the parked writers as far as there is room. True if bytes went in.
bool DataStream::serve_writers(Answers& answers) {
    bool moved = false;
    while (!writers_.empty()) {
        ParkedWrite& first = writers_.front();
        const ssize_t sent = put(end_.get(), first.rest);
        if (is_full(sent)) break;
        if (sent < 0) {
            answers.fail(std::move(first.request), backend_.write_code());
            writers_.pop_front();
            continue;
        }
        moved = true;
        first.rest.erase(first.rest.begin(), first.rest.begin() + sent);
        if (!first.rest.empty()) break;
        const std::size_t all = first.request->size();
        answers.reply(std::move(first.request), all);
        writers_.pop_front();
    }
    return moved;
}

void DataStream::moved() {
    bool wrote = false;
    {
        Answers answers;
        const std::scoped_lock guard(lock_);
        wrote = serve_writers(answers);
        wake_pollers(answers);
    }
    serve_readers();
    if (wrote) backend_.relay();
}

void DataStream::signalled() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    for (auto& reader : readers_) {
        if (reader->interrupted()) answers.fail(std::move(reader), EINTR);
    }
    std::erase(readers_, nullptr);
    for (ParkedWrite& writer : writers_) {
        if (writer.request->interrupted()) answer_interrupted(writer, answers);
    }
    std::erase_if(writers_, [](const ParkedWrite& writer) { return writer.request == nullptr; });
}

void DataStream::end_writing() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    for (ParkedWrite& writer : writers_) {
        const bool begun = writer.rest.size() < writer.request->size();
        if (begun) {
            answer_interrupted(writer, answers);
        } else {
            answers.fail(std::move(writer.request), EPIPE);
        }
    }
    writers_.clear();
    shutdown(end_.get(), SHUT_WR);
    wake_pollers(answers);
}

void DataStream::fail(int code) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    for (auto& reader : readers_) answers.fail(std::move(reader), code);
    readers_.clear();
    for (ParkedWrite& writer : writers_) answers.fail(std::move(writer.request), code);
    writers_.clear();
    shutdown(end_.get(), SHUT_RDWR);
    for (Polling& polling : pollers_) answers.wake(std::move(polling.poller));
    pollers_.clear();
}

std::uint32_t DataStream::events() const {
    pollfd entry{end_.get(), POLLIN | POLLOUT | POLLRDHUP, 0};
    ::poll(&entry, 1, 0);
    const auto found = static_cast<std::uint32_t>(entry.revents);
    std::uint32_t events = found & (POLLRDHUP | POLLHUP);
    if ((found & POLLIN) != 0) events |= POLLIN | POLLRDNORM;
    if ((found & POLLOUT) != 0 && writers_.empty()) events |= POLLOUT | POLLWRNORM;
    const bool ended = (found & POLLRDHUP) != 0;
    if (ended && backend_.end_code() != 0) events |= POLLERR | POLLOUT | POLLWRNORM;
    return events;
}

std::uint32_t DataStream::poll(const void* file, std::uint32_t wanted,
                               std::unique_ptr<Poller> poller) {
    const std::scoped_lock guard(lock_);
    if (poller) {
        // Several threads may poll one file, each for something else; one poller wakes them all.
        for (const Polling& earlier : pollers_) {
            if (earlier.file == file) wanted |= earlier.wanted;
        }
        forget_poller_locked(file);
        pollers_.push_back({file, wanted, std::move(poller)});
    }
    return events();
}

void DataStream::forget_poller(const void* file) {
    const std::scoped_lock guard(lock_);
    forget_poller_locked(file);
}

void DataStream::forget_poller_locked(const void* file) {
    std::erase_if(pollers_, [&](const Polling& polling) { return polling.file == file; });
}

// Each that is woken asks again, and is kept again if it is not content.
void DataStream::wake_pollers(Answers& answers) {
    if (pollers_.empty()) return;
    const std::uint32_t now = events();
    for (Polling& polling : pollers_) {
        if ((now & (polling.wanted | POLLERR | POLLHUP)) != 0)
            answers.wake(std::move(polling.poller));
    }
    std::erase_if(pollers_, [](const Polling& polling) { return polling.poller == nullptr; });
}

}  // namespace tlsfs
