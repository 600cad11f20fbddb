// SPDX-License-Identifier: MIT
#include "keys/sandbox.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tlsfs::keys {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // these look into their own process, and map terabytes
#else
constexpr bool kSanitized = false;
#endif

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

// The modules of tokens are in this process too: what they do with files and with the sockets of
// pcscd is here.
constexpr int kAllowed[] = {
    // memory, threads, signals, clocks
    __NR_brk,
    __NR_mmap,
    __NR_munmap,
    __NR_mprotect,
    __NR_mremap,
    __NR_madvise,
    __NR_futex,
    __NR_set_robust_list,
    __NR_rseq,
    __NR_gettid,
    __NR_getpid,
    __NR_tgkill,
    __NR_sched_yield,
    __NR_sched_getaffinity,
    __NR_membarrier,
    __NR_rt_sigaction,
    __NR_rt_sigprocmask,
    __NR_rt_sigreturn,
    __NR_rt_sigtimedwait,
    __NR_sigaltstack,
    __NR_restart_syscall,
    __NR_exit,
    __NR_exit_group,
    __NR_nanosleep,
    __NR_clock_nanosleep,
    __NR_clock_gettime,
    __NR_gettimeofday,
    __NR_getrandom,
    __NR_getrusage,
    __NR_prlimit64,
    __NR_uname,
    __NR_sysinfo,
    __NR_getuid,
    __NR_geteuid,
    __NR_getgid,
    __NR_getegid,
    // descriptors
    __NR_read,
    __NR_write,
    __NR_readv,
    __NR_writev,
    __NR_pread64,
    __NR_pwrite64,
    __NR_lseek,
    __NR_close,
    __NR_dup,
    __NR_fcntl,
    __NR_ioctl,
    __NR_flock,
    __NR_ppoll,
    __NR_pselect6,
    __NR_epoll_create1,
    __NR_epoll_ctl,
    __NR_epoll_pwait,
    __NR_eventfd2,
    __NR_timerfd_create,
    __NR_timerfd_settime,
    __NR_inotify_init1,
    __NR_inotify_add_watch,
    __NR_inotify_rm_watch,
    // files
    __NR_openat,
    __NR_newfstatat,
    __NR_fstat,
    __NR_statx,
    __NR_statfs,
    __NR_fstatfs,
    __NR_getdents64,
    __NR_readlinkat,
    __NR_faccessat,
    __NR_faccessat2,
    __NR_getcwd,
    __NR_umask,
    __NR_mkdirat,
    __NR_unlinkat,
    __NR_ftruncate,
    __NR_fsync,
    __NR_fdatasync,
    // sockets; making one is looked at below
    __NR_accept4,
    __NR_connect,
    __NR_recvfrom,
    __NR_recvmsg,
    __NR_sendto,
    __NR_sendmsg,
    __NR_getsockopt,
    __NR_setsockopt,
    __NR_getsockname,
    __NR_getpeername,
    __NR_shutdown,
#ifdef __x86_64__
    // the same by their older names
    __NR_open,
    __NR_stat,
    __NR_lstat,
    __NR_access,
    __NR_readlink,
    __NR_unlink,
    __NR_mkdir,
    __NR_poll,
    __NR_select,
    __NR_epoll_wait,
    __NR_arch_prctl,
    __NR_time,
#endif
};

constexpr std::uint32_t kNumber = offsetof(seccomp_data, nr);
constexpr std::uint32_t kArch = offsetof(seccomp_data, arch);
constexpr std::uint32_t kFirstArgument = offsetof(seccomp_data, args);  // its low half: x86, ARM

sock_filter load(std::uint32_t offset) {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}

sock_filter result(std::uint32_t action) {
    return BPF_STMT(BPF_RET | BPF_K, action);
}

// Goes on behind the next `count` steps unless the value is this one.
sock_filter skip_unless(std::uint32_t value, std::uint8_t count) {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count);
}

constexpr std::uint32_t error_action(int code) {
    return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(code);
}

std::vector<sock_filter> make_filter() {
    std::vector<sock_filter> filter{
        load(kArch),
        skip_unless(kArchitecture, 1),
        BPF_STMT(BPF_JMP | BPF_JA, 1),
        result(SECCOMP_RET_KILL_PROCESS),
        load(kNumber),
    };
    for (const int number : kAllowed) {
        filter.push_back(skip_unless(static_cast<std::uint32_t>(number), 1));
        filter.push_back(result(SECCOMP_RET_ALLOW));
    }
    const sock_filter rest[] = {
        // Threads, no processes. clone3 hides its flags behind a pointer: glibc then takes clone.
        skip_unless(__NR_clone3, 1),
        result(error_action(ENOSYS)),
        skip_unless(__NR_clone, 4),
        load(kFirstArgument),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
        result(SECCOMP_RET_ALLOW),
        result(error_action(EPERM)),
        skip_unless(__NR_socket, 3),
        load(kFirstArgument),
        skip_unless(AF_UNIX, 1),
        result(SECCOMP_RET_ALLOW),
        result(error_action(EPERM)),
    };
    for (const sock_filter& step : rest) filter.push_back(step);
    return filter;
}

}  // namespace

Result<> protect_memory() {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (kSanitized) return {};
    prctl(PR_SET_DUMPABLE, 0);
    rlimit lockable{};
    getrlimit(RLIMIT_MEMLOCK, &lockable);
    // With a bound all would be well until the first allocation beyond it fails.
    const bool bounded = lockable.rlim_cur != RLIM_INFINITY && geteuid() != 0;
    if (bounded) return failure(EPERM, "the limit of locked memory is too small (RLIMIT_MEMLOCK)");
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return system_failure("mlockall");
    return {};
}

Result<> restrict_system_calls() {
    if (kSanitized) return {};
    if (kArchitecture == 0) return failure(EOPNOTSUPP, "no list of system calls for this machine");
    std::vector<sock_filter> filter = make_filter();
    sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_failure("no_new_privs");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
        return system_failure("seccomp");
    }
    return {};
}

}  // namespace tlsfs::keys
