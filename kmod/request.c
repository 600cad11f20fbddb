// SPDX-License-Identifier: GPL-2.0
/* Writes to ctl: taken from the writer, kept for the agent, answered. */

#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/file.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>

#include "agent.h"
#include "connection.h"
#include "device.h"
#include "request.h"

static const char *tlsdev_skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return at;
}

/* A decimal number that fits a descriptor. Moves *at behind it. */
static bool tlsdev_parse_descriptor(const char **at, const char *end, unsigned int *number)
{
	const char *start = *at;
	u64 value = 0;

	while (*at < end && isdigit(**at) && value <= INT_MAX)
		value = value * 10 + *(*at)++ - '0';
	*number = value;
	return *at > start && value <= INT_MAX;
}

/* The descriptors of an `fd` line; 0 if it is none, or not one that can be looked up. */
static unsigned int tlsdev_parse_fd_line(const char *at, const char *end, unsigned int numbers[2])
{
	unsigned int count = 0;

	at = tlsdev_skip_blanks(at, end);
	if (end - at < 3 || memcmp(at, "fd", 2) || (at[2] != ' ' && at[2] != '\t'))
		return 0;
	at = tlsdev_skip_blanks(at + 2, end);
	while (at < end && count < 2) {
		if (!tlsdev_parse_descriptor(&at, end, &numbers[count++]))
			return 0;
		if (at < end && *at != ' ' && *at != '\t')
			return 0;
		at = tlsdev_skip_blanks(at, end);
	}
	return at == end ? count : 0;
}

/*
 * In the writer's context and so in its table: what it cannot reach it cannot
 * name. A file of ours as a carrier would hold itself open for ever.
 */
static int tlsdev_request_take_carrier(struct tlsdev_request *request, unsigned int number)
{
	struct file *file = fget(number);

	if (!file)
		return -EBADF;
	if (tlsdev_device_owns(file)) {
		fput(file);
		return -ELOOP;
	}
	request->carriers[request->carrier_count++] = file;
	return 0;
}

static void tlsdev_request_drop_carriers(struct tlsdev_request *request)
{
	while (request->carrier_count)
		fput(request->carriers[--request->carrier_count]);
}

/* The first `fd` line is the one that can succeed; it is all that we look for. */
static void tlsdev_request_take_carriers(struct tlsdev_request *request)
{
	const char *at = request->text, *end = request->text + request->length;
	unsigned int numbers[2], count = 0, i;

	while (at < end && !count) {
		const char *newline = memchr(at, '\n', end - at) ?: end;

		count = tlsdev_parse_fd_line(at, newline, numbers);
		at = newline + 1;
	}
	for (i = 0; i < count && !request->carrier_error; i++)
		request->carrier_error = tlsdev_request_take_carrier(request, numbers[i]);
	if (request->carrier_error)
		tlsdev_request_drop_carriers(request);
}

/* Of a longer write the whole lines that fit are taken. A line that does not fit is too long anyway. */
static void tlsdev_request_cut(struct tlsdev_request *request)
{
	size_t whole = request->length;

	while (whole && request->text[whole - 1] != '\n')
		whole--;
	if (whole)
		request->length = whole;
}

struct tlsdev_request *tlsdev_request_create(struct iov_iter *from, bool nonblock)
{
	size_t wanted = iov_iter_count(from);
	size_t length = min_t(size_t, wanted, TLSDEV_LINES_MAX);
	struct tlsdev_request *request;

	request = kvzalloc(struct_size(request, text, length), GFP_KERNEL_ACCOUNT);
	if (!request)
		return ERR_PTR(-ENOMEM);
	if (!copy_from_iter_full(request->text, length, from)) {
		kvfree(request);
		return ERR_PTR(-EFAULT);
	}

	refcount_set(&request->references, 1);
	INIT_LIST_HEAD(&request->node);
	init_completion(&request->answered);
	request->flags = nonblock ? TLSDEV_LINES_NONBLOCK : 0;
	request->uid = current_euid();
	request->gid = current_egid();
	request->pid = get_pid(task_tgid(current));
	request->length = length;
	if (length < wanted)
		tlsdev_request_cut(request);
	tlsdev_request_take_carriers(request);
	return request;
}

void tlsdev_request_put(struct tlsdev_request *request)
{
	if (!refcount_dec_and_test(&request->references))
		return;
	tlsdev_request_drop_carriers(request);
	put_pid(request->pid);
	kvfree(request);
}

/* Puts it before the agent. */
int tlsdev_request_post(struct tlsdev_connection *connection, struct tlsdev_request *request)
{
	int ret = 0;

	mutex_lock(&tlsdev_lock);
	if (!connection->known) {
		ret = -EUNATCH;
	} else if (connection->request_count == TLSDEV_REQUESTS_MAX) {
		ret = -EBUSY;
	} else {
		if (tlsdev_agent_shares_net(current->nsproxy->net_ns))
			request->flags |= TLSDEV_LINES_SAME_NET;
		request->seq = ++connection->last_seq;
		refcount_inc(&request->references);
		list_add_tail(&request->node, &connection->requests);
		connection->request_count++;
		tlsdev_agent_tell(connection);
	}
	mutex_unlock(&tlsdev_lock);
	return ret;
}

/*
 * Not restarted after a signal: the lines would be said twice. They stay with
 * the agent, which learns that the writer has gone.
 */
int tlsdev_request_wait(struct tlsdev_connection *connection, struct tlsdev_request *request)
{
	int ret = 0;

	if (!wait_for_completion_interruptible(&request->answered))
		return request->error;

	mutex_lock(&tlsdev_lock);
	if (list_empty(&request->node)) {	/* answered meanwhile, after all */
		ret = request->error;
	} else {
		request->interrupted = true;
		tlsdev_agent_tell(connection);
		ret = -EINTR;
	}
	mutex_unlock(&tlsdev_lock);
	return ret;
}

/* What the agent has not read it cannot answer. */
struct tlsdev_request *tlsdev_request_find(struct tlsdev_connection *connection, u32 seq)
{
	struct tlsdev_request *request;

	list_for_each_entry(request, &connection->requests, node)
		if (request->seq == seq && request->delivered)
			return request;
	return NULL;
}

/* The carriers go with the last reference: the writer's as a rule, see connection.h on why. */
void tlsdev_request_answer(struct tlsdev_connection *connection,
			   struct tlsdev_request *request, int error)
{
	list_del_init(&request->node);
	connection->request_count--;
	request->error = error;
	complete(&request->answered);
	tlsdev_request_put(request);
}

void tlsdev_request_answer_all(struct tlsdev_connection *connection, int error)
{
	struct tlsdev_request *request, *next;

	list_for_each_entry_safe(request, next, &connection->requests, node)
		tlsdev_request_answer(connection, request, error);
}
