/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * tlsdev: the protocol between the module and its agent.
 *
 * The module owns the files that programs hold: /dev/tls (a clone device: each
 * open makes a connection and is that connection's ctl), and one ctl and one
 * data device for each connection. The agent, a privileged program, does what
 * wants policy: it reads ctl lines, makes the handshake in user space and sets
 * kernel TLS on the socket. From then on the bytes run between the program and
 * the kernel, and the agent is not asked again. No key passes through here.
 *
 *   program   open /dev/tls   write "fd 3", "client www"        read, write
 *                  |                  |            ^                 |
 *   module         | OPEN             | LINES      | ANSWER         data
 *                  v                  v            |                 |
 *   agent      STATE new     CARRIER, handshake, STATE kernel        v
 *                                                             kTLS socket
 *
 * The agent opens /dev/tlsagent (it needs CAP_NET_ADMIN; one agent at a time,
 * a second open is EBUSY), and
 *
 *  - asks TLSDEV_IOC_INFO once, and compares the version;
 *  - reads events. One read gives one event: a struct tlsdev_event and
 *    `length` bytes behind it. The buffer must hold TLSDEV_EVENT_MAX bytes.
 *    read, poll and O_NONBLOCK are as usual; several threads may read;
 *  - answers with the ioctls below. All take effect at once and none waits.
 *
 * A connection is named by its id, which is never used twice. The id's low 32
 * bits are its number: the name of its directory and the minor of its devices.
 *
 * A connection's life, as the agent sees it:
 *
 * OPEN	 Someone opened /dev/tls. Make the connection known (its directory, its
 *	 limits), then set TLSDEV_STATE_NEW, or TLSDEV_STATE_FAILED with an errno
 *	 to refuse it. Until then the opener's reads and writes wait, so nobody
 *	 learns a number that the agent does not know yet.
 *
 * LINES A program wrote to ctl: the bytes of one write(2), exactly; the agent
 *	 splits and parses them. (Of a write longer than TLSDEV_LINES_MAX the
 *	 whole lines that fit are taken, and that count is what it returns.) `uid`, `gid` and `pid` (as seen in the agent's
 *	 pid namespace, 0 if not visible) are the writer's. The writer waits for
 *	 TLSDEV_IOC_ANSWER with the same id and seq; its errno ends the write.
 *	 Several LINES of one connection can be under way at once.
 *
 *	 If a line is an `fd` command with one or two decimal numbers, the module
 *	 has looked them up in the writer's own table: `carriers` says how many
 *	 there are, and TLSDEV_IOC_CARRIER gives the agent its own duplicates for
 *	 as long as the answer is due. `carrier_error` is what the look-up said
 *	 if it failed (an errno): report it when the `fd` line is reached. Only the
 *	 first such line of a write is looked up; `fd` comes once.
 *
 *	 TLSDEV_LINES_NONBLOCK: the writer's ctl is O_NONBLOCK. What would wait
 *	 for the peer is answered with EINPROGRESS and goes on; the writer then
 *	 polls its ctl (see STATE_HANDSHAKING).
 *
 * INTERRUPT
 *	 A signal ended the wait for the LINES with this seq. The writer has
 *	 its EINTR; an answer is still welcome and goes nowhere.
 *
 * HANDSHAKE
 *	 Whole handshake messages that came after a TLS 1.3 handshake, one or
 *	 more: session tickets, key updates. (In TLS 1.2 they can only ask for
 *	 another handshake; the module refuses.) At most TLSDEV_HANDSHAKE_MAX
 *	 bytes are kept for the agent; what comes beyond, and what comes when
 *	 there is no agent, is dropped.
 *
 * CLOSED
 *	 The last of the connection's files was closed. TLSDEV_IOC_QUERY still
 *	 answers. Finish whatever of it lives on in the agent, then
 *	 TLSDEV_IOC_FORGET: only this frees the number.
 *
 * ADOPT An agent before this one established this connection with the kernel's
 *	 TLS; it is open and lives. The event carries the connection's blob.
 *
 * States that the agent sets (TLSDEV_IOC_STATE):
 *
 * STATE_NEW	      the agent knows the connection, and carries out no line of it.
 *		      From: opened, new, handshaking. With the errno of what failed
 *		      in the background, a dial say, or 0.
 * STATE_HANDSHAKING  a line is under way that waits for a peer, in a dial or a
 *		      handshake: poll on ctl says nothing until the next state, then
 *		      POLLIN (and POLLERR if that comes with an errno). From: new,
 *		      handshaking.
 * STATE_KERNEL	      `carrier` is a descriptor of the agent's: a TCP socket with
 *		      kernel TLS set both ways, its sequence numbers right, nothing
 *		      of the stream read into user space. The module takes its own
 *		      reference; close the descriptor afterwards. From now on the
 *		      data device can be opened. A socket without kernel TLS is
 *		      refused with EINVAL: no byte ever goes out in the clear.
 *		      From: new, handshaking.
 * STATE_USER	      the handshake is done and the agent carries the data itself
 *		      (another kind of stream, a suite that the kernel lacks). It
 *		      shows files of its own in place of the two devices; data's
 *		      stays ENOTCONN, and lines still come from whoever has ctl
 *		      open here. After CLOSED the agent may keep the connection,
 *		      and its number, until TLSDEV_IOC_FORGET.
 *		      From: new, handshaking.
 * STATE_FAILED	      opening data gives `error`. From: opened, new, handshaking,
 *		      user.
 *
 * Established connections do not need the agent. When it goes away (its last
 * descriptor is closed, however it died):
 *
 *  - those in STATE_KERNEL go on. Of their ctl lines only `close` and `hangup`,
 *    alone in their write, are still understood, by the module itself;
 *  - all others are failed with EUNATCH, and every writer and reader that was
 *    waiting for the agent gets that errno. Opening /dev/tls gives it, too,
 *    while there is no agent;
 *  - the next agent gets an ADOPT for each that is in STATE_KERNEL, before
 *    anything else of it.
 */
#ifndef TLSDEV_H
#define TLSDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TLSDEV_VERSION		1

#define TLSDEV_LINES_MAX	16384	/* bytes of one write to ctl */
#define TLSDEV_HANDSHAKE_MAX	16384	/* bytes of handshake messages waiting for the agent */
#define TLSDEV_BLOB_MAX		4096	/* bytes that the agent can leave with a connection */
#define TLSDEV_REQUESTS_MAX	8	/* unanswered LINES of one connection; beyond: EBUSY */

enum tlsdev_event_type {
	TLSDEV_EVENT_OPEN = 1,
	TLSDEV_EVENT_ADOPT,
	TLSDEV_EVENT_LINES,
	TLSDEV_EVENT_INTERRUPT,
	TLSDEV_EVENT_HANDSHAKE,
	TLSDEV_EVENT_CLOSED,
};

#define TLSDEV_LINES_NONBLOCK	1u	/* the writer's ctl is O_NONBLOCK */
#define TLSDEV_LINES_SAME_NET	2u	/* the writer is in the agent's network namespace */

struct tlsdev_event {
	__u64 id;
	__u32 type;		/* enum tlsdev_event_type */
	__u32 length;		/* of what follows this header */
	__u32 seq;		/* LINES, INTERRUPT */
	__u32 flags;		/* LINES: TLSDEV_LINES_* */
	__u32 uid;		/* LINES: the writer's; else the owner's */
	__u32 gid;
	__s32 pid;		/* LINES: the writer's process; OPEN: the opener's; else 0 */
	__u32 carriers;		/* LINES: 0, 1 or 2 */
	__s32 carrier_error;	/* LINES: an errno, positive, or 0 */
	__u32 reserved;
};

#define TLSDEV_EVENT_MAX	(sizeof(struct tlsdev_event) + 16384)

enum tlsdev_state {
	TLSDEV_STATE_OPENED,
	TLSDEV_STATE_NEW,
	TLSDEV_STATE_HANDSHAKING,
	TLSDEV_STATE_KERNEL,
	TLSDEV_STATE_USER,
	TLSDEV_STATE_FAILED,
	TLSDEV_STATE_CLOSED,	/* set by the module: the last file was closed */
	TLSDEV_STATES
};

struct tlsdev_info {
	__u32 version;
	__u32 clone_major;	/* /dev/tls */
	__u32 clone_minor;
	__u32 ctl_major;	/* connection N's ctl is ctl_major:N, its data data_major:N */
	__u32 data_major;
	__u32 reserved;
};

struct tlsdev_answer {
	__u64 id;
	__u32 seq;
	__s32 error;		/* 0 or an errno, positive */
};

/* Returns a new descriptor (O_CLOEXEC) for what `fd R W` named. */
struct tlsdev_carrier {
	__u64 id;
	__u32 seq;
	__u32 index;		/* 0: the first number, 1: the second */
};

struct tlsdev_set_state {
	__u64 id;
	__u32 state;
	__s32 error;		/* STATE_FAILED: an errno, positive; else 0 */
	__s32 carrier;		/* STATE_KERNEL: a descriptor; else -1 */
	__u32 reserved;
};

/* Opaque to the module; replaces what was left before. */
struct tlsdev_blob {
	__u64 id;
	__u64 address;
	__u32 length;
	__u32 reserved;
};

#define TLSDEV_END_WRITING	1u	/* `close`: close_notify, then writes are EPIPE */
#define TLSDEV_END_ALL		2u	/* `hangup`: no close_notify, reads and writes end */

struct tlsdev_end {
	__u64 id;
	__u32 how;		/* STATE_KERNEL only; else ENOTCONN */
	__u32 reserved;
};

/* Of connections at a time. They replace the module's parameters of these names. */
struct tlsdev_limits {
	__u32 max_connections;	/* beyond, opening /dev/tls is ENFILE */
	__u32 max_per_user;	/* beyond, EMFILE */
};

#define TLSDEV_STATUS_READ_OVER	 1u	/* read_error says how; 0 is the peer's close_notify */
#define TLSDEV_STATUS_WRITE_OVER 2u	/* `close`, `hangup`, or the connection broke */

#define TLSDEV_NO_ALERT		256u

struct tlsdev_status {
	__u64 id;		/* in; all else is out */
	__u32 state;		/* enum tlsdev_state */
	__s32 error;		/* STATE_FAILED: why */
	__u32 flags;		/* TLSDEV_STATUS_* */
	__s32 read_error;	/* an errno, positive: ECONNRESET, EPROTO, EBADMSG, EKEYEXPIRED ... */
	__u32 alert_in;		/* the fatal alert that came, or TLSDEV_NO_ALERT */
	__u32 alert_out;	/* the fatal alert that was sent, or TLSDEV_NO_ALERT */
	__u32 uid;
	__u32 gid;
	__u64 data_in;		/* plaintext bytes read and written through data */
	__u64 data_out;
	__u64 records_in;	/* the sequence numbers: records under the traffic keys */
	__u64 records_out;
	__u64 wire_in;		/* TCP's bytes, the handshake's among them; 0 once closed */
	__u64 wire_out;
};

/*
 * Errors that all of them share: ENOENT (no such connection, or no such seq
 * waiting), EINVAL (a value out of range, a state that cannot follow),
 * EFAULT. An answer to a connection that has just been closed is ENOENT; an
 * agent takes that calmly.
 */
#define TLSDEV_IOC_INFO		_IOR('T', 0xe0, struct tlsdev_info)
#define TLSDEV_IOC_ANSWER	_IOW('T', 0xe1, struct tlsdev_answer)
#define TLSDEV_IOC_CARRIER	_IOW('T', 0xe2, struct tlsdev_carrier)
#define TLSDEV_IOC_STATE	_IOW('T', 0xe3, struct tlsdev_set_state)
#define TLSDEV_IOC_BLOB		_IOW('T', 0xe4, struct tlsdev_blob)
#define TLSDEV_IOC_END		_IOW('T', 0xe5, struct tlsdev_end)
#define TLSDEV_IOC_QUERY	_IOWR('T', 0xe6, struct tlsdev_status)
#define TLSDEV_IOC_FORGET	_IOW('T', 0xe7, __u64)
#define TLSDEV_IOC_LIMITS	_IOW('T', 0xe8, struct tlsdev_limits)

#endif
