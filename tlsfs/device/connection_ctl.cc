// SPDX-License-Identifier: MIT
// What the lines written to `ctl` do. Their grammar is core/ctl.
#include <fmt/format.h>
#include <poll.h>

#include <system_error>

#include "device/connection.h"

namespace tlsfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds since(steady_clock::time_point start) {
    return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

}  // namespace

void Connection::ctl(std::unique_ptr<CtlRequest> request) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    const auto data = request->data();
    std::string text(reinterpret_cast<const char*>(data.data()), data.size());
    if (auto fits = check_lines(text); !fits) {
        facts_.error = fits.error().text;
        return answers.fail(std::move(request), fits.error().code);
    }
    run(Job{std::move(request), std::move(text)}, answers);
    rearm();
}

void Connection::make_trial() {
    const std::scoped_lock guard(lock_);
    trial_ = true;
}

// Carries out line after line until one fails or has to wait.
void Connection::run(Job job, Answers& answers) {
    std::string_view rest = job.rest;
    while (!rest.empty()) {
        const std::string_view line = take_line(rest);
        const auto progress = execute(line, job.request.get(), answers);
        if (!progress) {
            facts_.error = progress.error().text;
            fail_job(std::move(job), progress.error().code, answers);
            return;
        }
        if (*progress == Progress::done) continue;
        job.rest = std::string(rest);
        if (job.request && job.request->nonblocking()) {
            answers.fail(std::move(job.request), EINPROGRESS);
        } else if (job.request && job.request->interrupted()) {
            answers.fail(std::move(job.request), EINTR);
            job.rest.clear();
        }
        job_ = std::move(job);
        if (kernel_) kernel_->busy();
        return;
    }
    const bool better = std::exchange(unseen_failure_, 0) != 0;
    if (kernel_ && better && state_ == State::fresh) kernel_->idle(0);
    if (!job.request) return;
    const std::size_t all = job.request->size();
    answers.reply(std::move(job.request), all);
}

// The line that waited is over.
void Connection::finish_job(Result<> outcome, Answers& answers) {
    if (!job_) return;
    Job job = std::move(*job_);
    job_.reset();
    if (outcome) {
        run(std::move(job), answers);
    } else {
        facts_.error = outcome.error().text;
        fail_job(std::move(job), outcome.error().code, answers);
    }
    // Unless a handshake has begun: then the module hears how that ends.
    if (kernel_ && !job_ && state_ == State::fresh) kernel_->idle(unseen_failure_);
    wake_pollers(answers);
}

// Where nobody waits for the errno any more, poll says that there is one, and data's open which.
void Connection::fail_job(Job job, int code, Answers& answers) {
    if (job.request) {
        answers.fail(std::move(job.request), code);
    } else {
        unseen_failure_ = code;
    }
}

Result<Connection::Progress> Connection::execute(std::string_view text, const CtlRequest* request,
                                                 Answers& answers) {
    refresh();
    const auto line = parse_line(text);
    if (!line) {
        log(LogLevel::info, "ctl: a line that is not understood");  // it may be part of a key
        return tl::unexpected(line.error());
    }
    auto outcome = carry_out(*line, {request, answers});
    if (!outcome) log_refusal(line->verb, outcome.error());
    return outcome;
}

Result<Connection::Progress> Connection::carry_out(const ParsedLine& line, Turn turn) {
    log(LogLevel::debug, line.verb);
    if (const auto allowed = check_allowed(line); !allowed) return tl::unexpected(allowed.error());
    if (const auto permitted = check_policy(line.command); !permitted) {
        return tl::unexpected(permitted.error());
    }
    return std::visit([&](const auto& command) { return apply(command, turn); }, line.command);
}

// The one place where the administrator's policy meets what a program wants.
Result<> Connection::check_policy(const Command& command) const {
    const auto* ciphers = std::get_if<command::Ciphers>(&command);
    if (ciphers == nullptr) return permits(*policy_, command, settings_);
    auto known = check_ciphers(ciphers->list);
    if (!known || policy_->ciphers.empty()) return known;
    return check_ciphers_within(ciphers->list, policy_->ciphers);
}

Result<> Connection::check_allowed(const ParsedLine& line) const {
    const bool hangup = std::holds_alternative<command::Hangup>(line.command);
    if (job_ && !hangup)
        return failure(EBUSY, fmt::format("{}: another line is under way", line.verb));
    if (line.allowed.has(state_)) return {};
    const bool too_early = state_ == State::fresh || state_ == State::handshaking;
    if (too_early && !line.allowed.has(State::fresh)) {
        return failure(ENOTCONN, fmt::format("{}: no handshake yet", line.verb));
    }
    return failure(EBUSY,
                   fmt::format("{}: too late, the state is {}", line.verb, state_name(state_)));
}

Result<Connection::Progress> Connection::apply(const command::Fd& fd, Turn turn) {
    if (carrier_.valid()) return failure(EBUSY, "fd: there is a carrier already");
    auto carrier = take_stream("fd", fd.read, fd.write, turn);
    if (!carrier) return tl::unexpected(carrier.error());
    carrier_ = std::move(*carrier);
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Plain& plain, Turn turn) {
    if (auto free = check_plain_side("plain"); !free) return tl::unexpected(free.error());
    auto stream = take_stream("plain", plain.read, plain.write, turn);
    if (!stream) return tl::unexpected(stream.error());
    if (!relay_) {
        given_plain_ = std::move(*stream);
        return Progress::done;
    }
    auto begun = begin_plain(PlainSide(PlainSide::Kind::given, std::move(*stream)));
    if (!begun) return tl::unexpected(begun.error());
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Idle& idle, Turn) {
    settings_.idle = idle.limit;
    if (relay_) relay_->set_idle_limit(idle.limit);
    return Progress::done;
}

Result<Carrier> Connection::take_stream(const char* verb, int read, int write, Turn turn) {
    if (turn.request == nullptr) {
        return failure(EPERM, fmt::format("{}: its writer does not wait any more", verb));
    }
    // A file system of the user's own may keep close(2) waiting for ever.
    if (!services_.background.may_close_more(owner_.uid)) {
        return failure(EMFILE, fmt::format("{}: refused descriptors wait to be closed", verb));
    }
    auto first = turn.request->take_fd(read);
    if (!first) return tl::unexpected(first.error());
    UniqueFd second;
    if (write != read) {
        auto taken = turn.request->take_fd(write);
        if (!taken) give_back(std::move(*first));
        if (!taken) return tl::unexpected(taken.error());
        second = std::move(*taken);
    }
    return adopt(std::move(*first), std::move(second));
}

Result<> Connection::attach(UniqueFd read, UniqueFd write) {
    const std::scoped_lock guard(lock_);
    auto set = [&]() -> Result<> {
        if (state_ != State::fresh || job_) return failure(EBUSY, "attach: too late");
        if (carrier_.valid()) return failure(EBUSY, "attach: there is a carrier already");
        return set_carrier(std::move(read), std::move(write));
    }();
    for (UniqueFd* unused : {&read, &write}) {
        if (unused->valid()) give_back(std::move(*unused));
    }
    if (!set) facts_.error = set.error().text;
    return set;
}

// Were it a file of this mount, close(2) here would wait for this very thread.
void Connection::give_back(UniqueFd fd) {
    services_.background.close(owner_.uid, std::move(fd));
}

Result<Carrier> Connection::adopt(UniqueFd read, UniqueFd write) {
    auto carrier = Carrier::adopt(read, write, services_.mount_device);
    for (UniqueFd* refused : {&read, &write}) {
        if (refused->valid()) give_back(std::move(*refused));
    }
    return carrier;
}

Result<> Connection::set_carrier(UniqueFd read, UniqueFd write) {
    auto carrier = adopt(std::move(read), std::move(write));
    if (!carrier) return tl::unexpected(carrier.error());
    carrier_ = std::move(*carrier);
    return {};
}

Result<Connection::Progress> Connection::apply(const command::Dial& target, Turn turn) {
    if (carrier_.valid()) return failure(EBUSY, "dial: there is a carrier already");
    if (turn.request == nullptr) return failure(EPERM, "dial: its writer does not wait any more");
    const auto identity = turn.request->dial_as(!target.path.empty());
    if (!identity) return tl::unexpected(identity.error());
    try {
        dialling_ = std::make_shared<Cancellation>();
    } catch (const std::system_error& none_left) {
        return failure(none_left.code().value(), fmt::format("dial: {}", none_left.what()));
    }
    default_name_ = target.host;
    started_ = steady_clock::now();
    services_.background.run(owner_.uid,
                             [self = shared_from_this(), target, identity = *identity,
                              deadline = started_ + settings_.timeout, cancel = dialling_] {
                                 self->dialled(cancel, dial(target, identity, deadline, *cancel));
                             });
    // A name server that does not answer cannot be hurried, only left.
    timer_ = services_.reactor.after(settings_.timeout, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->dial_timed_out();
    });
    return Progress::waiting;
}

void Connection::dialled(const std::shared_ptr<Cancellation>& attempt, Result<UniqueFd> outcome) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (dialling_ != attempt) return;  // given up meanwhile
    dialling_.reset();
    services_.reactor.cancel(std::exchange(timer_, 0));
    auto set =
        outcome ? set_carrier(std::move(*outcome), {}) : Result<>(tl::unexpected(outcome.error()));
    dial_time_ = set ? since(started_) : milliseconds{0};
    if (!set) log_refusal("dial", set.error());
    if (!set) default_name_.clear();  // the next carrier may lead elsewhere
    finish_job(std::move(set), answers);
    rearm();
}

void Connection::dial_timed_out() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (!dialling_) return;
    timer_ = 0;
    std::exchange(dialling_, nullptr)->cancel();
    const Error error{ETIMEDOUT, "dial: the timeout ran out"};
    log_refusal("dial", error);
    default_name_.clear();
    finish_job(tl::unexpected(error), answers);
}

Result<Connection::Progress> Connection::apply(const command::Version& version, Turn) {
    settings_.min_version = version.min;
    settings_.max_version = version.max;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Ciphers& ciphers, Turn) {
    settings_.ciphers = ciphers.list;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Groups& groups, Turn) {
    if (auto known = check_groups(groups.list); !known) return tl::unexpected(known.error());
    settings_.groups = groups.list;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Alpn& alpn, Turn) {
    settings_.alpn = alpn.protocols;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Verify& verify, Turn) {
    settings_.verify = verify.policy;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Allow& allow, Turn) {
    settings_.allow = allow.rules;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Timeout& timeout, Turn) {
    settings_.timeout = timeout.limit;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Session& session, Turn) {
    settings_.session_cache = session.on;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Engine& engine, Turn) {
    if (engine.choice == EngineChoice::kernel && !kernel_) {
        return failure(EOPNOTSUPP, "engine kernel: the module tlsdev is not loaded");
    }
    settings_.engine = engine.choice;
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Client& client, Turn) {
    if (!carrier_.valid() && !trial_) return failure(ENOTCONN, "client: no carrier yet");
    if (client.name) return start_handshake(Role::client, *client.name);
    return start_handshake(Role::client, default_name_.empty() && carrier_.valid()
                                             ? carrier_.remote_ip()
                                             : default_name_);
}

Result<Connection::Progress> Connection::apply(const command::Server&, Turn) {
    if (!carrier_.valid() && !trial_) return failure(ENOTCONN, "server: no carrier yet");
    return start_handshake(Role::server, {});
}

Result<Connection::Progress> Connection::apply(const command::KeyUpdate&, Turn) {
    if (in_kernel_) return failure(EOPNOTSUPP, "keyupdate: the kernel cannot: say engine user");
    if (auto updated = relay_->update_keys(); !updated) return tl::unexpected(updated.error());
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Close&, Turn turn) {
    if (in_kernel_) {
        if (auto ended = kernel_->end_writing(); !ended) return tl::unexpected(ended.error());
    } else {
        if (data_) data_->end_writing();
        turn.answers.first([relay = relay_] { relay->close(); });
    }
    step(Event::local_close);
    wake_pollers(turn.answers);
    return Progress::done;
}

Result<Connection::Progress> Connection::apply(const command::Hangup&, Turn turn) {
    if (in_kernel_) {
        if (auto ended = kernel_->end(); !ended) return tl::unexpected(ended.error());
    } else if (kernel_) {
        kernel_->failed(ECONNABORTED);
    }
    step(Event::hangup);
    if (relay_) turn.answers.first([relay = relay_] { relay->end({}); });
    drop_stream();
    fail_waiting(ECONNABORTED, turn.answers);
    return Progress::done;
}

std::uint32_t Connection::ctl_events() const {
    std::uint32_t events = POLLOUT | POLLWRNORM;
    if (!job_) events |= POLLIN | POLLRDNORM;
    if (!job_ && unseen_failure_ != 0) events |= POLLERR;
    return events;
}

std::uint32_t Connection::poll_ctl(const void* file, std::unique_ptr<Poller> poller) {
    const std::scoped_lock guard(lock_);
    if (poller) {
        std::erase_if(pollers_, [&](const Polling& polling) { return polling.file == file; });
        pollers_.push_back({file, std::move(poller)});
    }
    return ctl_events();
}

void Connection::forget_poller(const void* file) {
    const std::scoped_lock guard(lock_);
    std::erase_if(pollers_, [&](const Polling& polling) { return polling.file == file; });
}

void Connection::wake_pollers(Answers& answers) {
    for (Polling& polling : pollers_) answers.wake(std::move(polling.poller));
    pollers_.clear();
}

}  // namespace tlsfs
