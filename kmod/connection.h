/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A connection: what the files, the agent and the record layer share.
 *
 * Lifetime. References (kref) are held by: the table, from creation until
 * tlsdev_connection_remove(); each open ctl or data file; the farewell work
 * while it is queued or runs; and, for the length of a call, whoever looked the
 * connection up. The carrier is dropped by who closes the last file (or by the
 * farewell work), never by the agent: dropping a socket can wait (SO_LINGER),
 * and the owner must not be able to make the agent wait.
 *
 * Locks, in the order in which they are taken:
 *
 *	rx_control (mutex) one task takes control records out of the stream.
 *	tx_gate (rwsem)	  read: a write is under way. write, by trylock only: the
 *			  last record is being sent.
 *	tlsdev_lock	  everything that is not the stream: the table, states,
 *			  requests, events, the agent. Never held while waiting
 *			  for the agent, nor while taking a lock of the carrier,
 *			  which its owner could hold for as long as he likes.
 *
 * The stream itself (read, write, poll) takes none but tx_gate for reading:
 * `carrier` and `socket` are set before STATE_KERNEL is, which is what lets data
 * be opened, and stay until the last file is closed.
 */
#ifndef TLSDEV_CONNECTION_H
#define TLSDEV_CONNECTION_H

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "handshake.h"
#include "tlsdev.h"

struct socket;

extern struct mutex tlsdev_lock;

enum tlsdev_connection_flag {
	TLSDEV_HUNG_UP,			/* no farewell, no more bytes */
	TLSDEV_FAREWELL_SENT,		/* under tx_gate for writing */
	TLSDEV_POLLER_WAITS,		/* a reader that leaves must wake connection->wait */
};

struct tlsdev_connection {
	struct kref kref;
	u64 id;
	kuid_t uid;
	kgid_t gid;
	wait_queue_head_t wait;		/* state changes, and see TLSDEV_POLLER_WAITS */

	/* under tlsdev_lock */
	enum tlsdev_state state;	/* written under it; READ_ONCE() elsewhere */
	int error;			/* STATE_FAILED; 0 or negative */
	unsigned int files;		/* open ctl and data files */
	bool in_table;
	bool named;			/* an agent has said STATE_NEW: the number may be read */
	bool known;			/* the present agent knows it, or is about to be told */
	bool tell_open, tell_adopt, tell_closed;
	struct list_head ready;		/* in the agent's list while it has something to tell */
	struct list_head requests;
	unsigned int request_count;
	u32 last_seq;
	u8 *blob;
	unsigned int blob_length;
	struct tlsdev_handshake handshake;

	/* the stream */
	struct file *carrier;
	struct socket *socket;
	bool tls13;
	unsigned long flags;		/* enum tlsdev_connection_flag */
	int rx_end;			/* 0: goes on, 1: close_notify, negative: why not; set once */
	int tx_end;			/* 0: goes on, negative: what a write says; set once */
	u16 alert_in, alert_out;	/* or TLSDEV_NO_ALERT */
	struct mutex rx_control;
	struct rw_semaphore tx_gate;
	atomic64_t data_in, data_out;

	struct delayed_work farewell;
	unsigned long farewell_until;	/* jiffies; counts once the last file is closed */
	struct list_head lingering;	/* under tlsdev_lock: closed, the farewell still to be sent */
};

static inline u32 tlsdev_connection_number(const struct tlsdev_connection *connection)
{
	return lower_32_bits(connection->id);
}

struct tlsdev_connection *tlsdev_connection_create(void);
struct tlsdev_connection *tlsdev_connection_open(u32 number);
void tlsdev_connection_close(struct tlsdev_connection *connection);
void tlsdev_connection_put(struct tlsdev_connection *connection);

struct tlsdev_connection *tlsdev_connection_find(u64 id);
void tlsdev_connection_each(void (*visit)(struct tlsdev_connection *connection));

int tlsdev_connection_set_state(struct tlsdev_connection *connection,
				enum tlsdev_state state, int error);
int tlsdev_connection_set_carrier(struct tlsdev_connection *connection, struct file *carrier);
void tlsdev_connection_orphan(struct tlsdev_connection *connection);
int tlsdev_connection_forget(struct tlsdev_connection *connection);
int tlsdev_connection_set_limits(const struct tlsdev_limits *limits);
int tlsdev_connection_wait_named(struct tlsdev_connection *connection);
void tlsdev_connection_end_writing(struct tlsdev_connection *connection);
void tlsdev_connection_hang_up(struct tlsdev_connection *connection);

int tlsdev_connection_init(void);
void tlsdev_connection_exit(void);

#endif
