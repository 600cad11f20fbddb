// SPDX-License-Identifier: MIT
#include "connection/ctl.h"

#include <fmt/format.h>
#include <poll.h>

#include <utility>

namespace tlsfs {

void Ctl::write(std::unique_ptr<CtlRequest> request, Answers& answers) {
    const auto data = request->data();
    std::string text(reinterpret_cast<const char*>(data.data()), data.size());
    Job job{std::move(request), std::move(text)};
    if (auto fits = check_lines(job.rest); !fits)
        return fail(std::move(job), fits.error(), answers);
    run(std::move(job), answers);
}

// Carries out line after line until one fails or has to wait.
void Ctl::run(Job job, Answers& answers) {
    std::string_view rest = job.rest;
    while (!rest.empty()) {
        const std::string_view line = take_line(rest);
        const auto progress = execute(line, {job.request.get(), answers});
        if (!progress) return fail(std::move(job), progress.error(), answers);
        if (*progress == Progress::ended) end(ECONNABORTED, answers);
        if (*progress != Progress::waiting) continue;
        job.rest = std::string(rest);
        return park(std::move(job), answers);
    }
    succeed(std::move(job), answers);
}

void Ctl::park(Job job, Answers& answers) {
    if (job.request && job.request->nonblocking()) {
        answers.fail(std::move(job.request), EINPROGRESS);
    } else if (job.request && job.request->interrupted()) {
        answers.fail(std::move(job.request), EINTR);
        job.rest.clear();
    }
    job_ = std::move(job);
    if (KernelEnd* kernel = endpoint_.kernel()) kernel->busy();
}

void Ctl::succeed(Job job, Answers& answers) {
    const bool better = std::exchange(unseen_failure_, 0) != 0;
    KernelEnd* kernel = endpoint_.kernel();
    if (kernel != nullptr && better && endpoint_.state() == State::fresh) kernel->idle(0);
    if (!job.request) return;
    const std::size_t all = job.request->size();
    answers.reply(std::move(job.request), all);
}

// Where nobody waits for the errno any more, poll says that there is one, and data's open which.
void Ctl::fail(Job job, const Error& error, Answers& answers) {
    endpoint_.facts().fields.error = error.text;
    if (job.request) {
        answers.fail(std::move(job.request), error.code);
    } else {
        unseen_failure_ = error.code;
    }
}

void Ctl::finish(Result<> outcome, Answers& answers) {
    if (!job_) return;
    Job job = std::move(*job_);
    job_.reset();
    if (outcome) {
        run(std::move(job), answers);
    } else {
        fail(std::move(job), outcome.error(), answers);
    }
    // Unless a handshake has begun: then the module hears how that ends.
    KernelEnd* kernel = endpoint_.kernel();
    if (kernel != nullptr && !job_ && endpoint_.state() == State::fresh) {
        kernel->idle(unseen_failure_);
    }
    wake_pollers(answers);
}

void Ctl::end(int code, Answers& answers) {
    finish(failure(code, endpoint_.facts().fields.error), answers);
    wake_pollers(answers);
}

void Ctl::signalled(Answers& answers) {
    if (!job_ || !job_->request || !job_->request->interrupted()) return;
    answers.fail(std::move(job_->request), EINTR);
    job_->rest.clear();
}

Result<Progress> Ctl::execute(std::string_view text, Verbs::Turn turn) {
    endpoint_.refresh();
    const Facts& facts = endpoint_.facts();
    const auto line = parse_line(text, verbs_.choices());
    if (!line) {
        facts.log(LogLevel::info, "ctl: a line that is not understood");  // perhaps part of a key
        return tl::unexpected(line.error());
    }
    facts.log(LogLevel::debug, line->verb);
    const auto allowed = check_allowed(*line);
    auto outcome = allowed ? verbs_.carry_out(line->command, turn)
                           : Result<Progress>(tl::unexpected(allowed.error()));
    if (!outcome) facts.log_refusal(line->verb, outcome.error());
    return outcome;
}

Result<> Ctl::check_allowed(const ParsedLine& line) const {
    const State state = endpoint_.state();
    const bool hangup = std::holds_alternative<command::Hangup>(line.command);
    if (job_ && !hangup)
        return failure(EBUSY, fmt::format("{}: another line is under way", line.verb));
    if (line.allowed.has(state)) return {};
    const bool too_early = state == State::fresh || state == State::handshaking;
    if (too_early && !line.allowed.has(State::fresh)) {
        return failure(ENOTCONN, fmt::format("{}: no handshake yet", line.verb));
    }
    return failure(EBUSY,
                   fmt::format("{}: too late, the state is {}", line.verb, state_name(state)));
}

std::uint32_t Ctl::poll(const void* file, std::unique_ptr<Poller> poller) {
    if (poller) {
        forget_poller(file);
        pollers_.push_back({file, std::move(poller)});
    }
    std::uint32_t events = POLLOUT | POLLWRNORM;
    if (!job_) events |= POLLIN | POLLRDNORM;
    if (unseen_failure() != 0) events |= POLLERR;
    return events;
}

void Ctl::forget_poller(const void* file) {
    std::erase_if(pollers_, [&](const Polling& polling) { return polling.file == file; });
}

void Ctl::wake_pollers(Answers& answers) {
    for (Polling& polling : pollers_) answers.wake(std::move(polling.poller));
    pollers_.clear();
}

}  // namespace tlsfs
