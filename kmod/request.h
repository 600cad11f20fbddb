/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One write to ctl, on its way to the agent and back.
 *
 * Two references: the connection's list holds one until the answer or the end
 * of the connection; the writer holds one while it waits. Whichever goes first,
 * the other finds the request whole.
 */
#ifndef TLSDEV_REQUEST_H
#define TLSDEV_REQUEST_H

#include <linux/completion.h>
#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/uidgid.h>

struct file;
struct iov_iter;
struct pid;
struct tlsdev_connection;

struct tlsdev_request {
	refcount_t references;
	struct completion answered;
	int error;			/* valid once answered; 0 or negative */

	/* under tlsdev_lock */
	struct list_head node;		/* in connection->requests */
	u32 seq;
	bool delivered;			/* the agent has read it */
	bool interrupted;		/* the writer is gone ... */
	bool interrupt_told;		/* ... and the agent knows */

	/* fixed from creation on */
	u32 flags;			/* TLSDEV_LINES_* */
	kuid_t uid;
	kgid_t gid;
	struct pid *pid;
	struct file *carriers[2];	/* what `fd` named */
	unsigned int carrier_count;
	int carrier_error;		/* or why it could not be had; 0 or negative */
	size_t length;
	char text[];
};

struct tlsdev_request *tlsdev_request_create(struct iov_iter *from, bool nonblock);
int tlsdev_request_post(struct tlsdev_connection *connection, struct tlsdev_request *request);
int tlsdev_request_wait(struct tlsdev_connection *connection, struct tlsdev_request *request);
void tlsdev_request_put(struct tlsdev_request *request);

/* Under tlsdev_lock. */
struct tlsdev_request *tlsdev_request_find(struct tlsdev_connection *connection, u32 seq);
void tlsdev_request_answer(struct tlsdev_connection *connection,
			   struct tlsdev_request *request, int error);
void tlsdev_request_answer_all(struct tlsdev_connection *connection, int error);

#endif
