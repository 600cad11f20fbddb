// SPDX-License-Identifier: GPL-2.0
/*
 * The agent's descriptor, /dev/tlsagent.
 *
 * Events are not queued: each connection knows what it has to tell, and those
 * that have something stand in a list. So telling never allocates, never fails
 * and needs no bound but the number of connections.
 */

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>

#include "agent.h"
#include "connection.h"
#include "device.h"
#include "request.h"
#include "stream.h"

/* An open /dev/tlsagent. `reading` covers `event` and `payload`, the one being handed over. */
struct tlsdev_agent {
	struct user_namespace *user_ns;
	struct net *net;
	struct mutex reading;
	struct tlsdev_event event;
	u8 payload[TLSDEV_EVENT_MAX - sizeof(struct tlsdev_event)];
};

static_assert(TLSDEV_LINES_MAX <= sizeof_field(struct tlsdev_agent, payload));
static_assert(TLSDEV_HANDSHAKE_MAX <= sizeof_field(struct tlsdev_agent, payload));
static_assert(TLSDEV_BLOB_MAX <= sizeof_field(struct tlsdev_agent, payload));

/* Under tlsdev_lock. */
static struct tlsdev_agent *tlsdev_agent;
static LIST_HEAD(tlsdev_ready);

static DECLARE_WAIT_QUEUE_HEAD(tlsdev_agent_wait);

bool tlsdev_agent_present(void)
{
	return tlsdev_agent;
}

bool tlsdev_agent_shares_net(const struct net *net)
{
	return tlsdev_agent && net_eq(tlsdev_agent->net, net);
}

void tlsdev_agent_tell(struct tlsdev_connection *connection)
{
	if (!connection->known)
		return;
	if (list_empty(&connection->ready))
		list_add_tail(&connection->ready, &tlsdev_ready);
	wake_up_interruptible_poll(&tlsdev_agent_wait, EPOLLIN | EPOLLRDNORM);
}

/* ---- events ---- */

static void tlsdev_event_start(struct tlsdev_agent *agent, u32 type,
			       struct tlsdev_connection *connection)
{
	agent->event = (struct tlsdev_event){
		.id = connection->id,
		.type = type,
		.uid = from_kuid_munged(agent->user_ns, connection->uid),
		.gid = from_kgid_munged(agent->user_ns, connection->gid),
	};
}

static void tlsdev_event_add(struct tlsdev_agent *agent, const void *bytes, size_t length)
{
	memcpy(agent->payload, bytes, length);
	agent->event.length = length;
}

static void tlsdev_event_lines(struct tlsdev_agent *agent, struct tlsdev_connection *connection,
			       struct tlsdev_request *request)
{
	tlsdev_event_start(agent, TLSDEV_EVENT_LINES, connection);
	agent->event.seq = request->seq;
	agent->event.flags = request->flags;
	agent->event.uid = from_kuid_munged(agent->user_ns, request->uid);
	agent->event.gid = from_kgid_munged(agent->user_ns, request->gid);
	agent->event.pid = pid_vnr(request->pid);
	agent->event.carriers = request->carrier_count;
	agent->event.carrier_error = -request->carrier_error;
	tlsdev_event_add(agent, request->text, request->length);
	request->delivered = true;
}

static bool tlsdev_event_from_requests(struct tlsdev_agent *agent,
				       struct tlsdev_connection *connection)
{
	struct tlsdev_request *request;

	list_for_each_entry(request, &connection->requests, node) {
		if (!request->delivered) {
			tlsdev_event_lines(agent, connection, request);
			return true;
		}
		if (request->interrupted && !request->interrupt_told) {
			request->interrupt_told = true;
			tlsdev_event_start(agent, TLSDEV_EVENT_INTERRUPT, connection);
			agent->event.seq = request->seq;
			return true;
		}
	}
	return false;
}

static bool tlsdev_event_from_handshake(struct tlsdev_agent *agent,
					struct tlsdev_connection *connection)
{
	struct tlsdev_handshake *handshake = &connection->handshake;

	if (!handshake->whole)
		return false;
	tlsdev_event_start(agent, TLSDEV_EVENT_HANDSHAKE, connection);
	tlsdev_event_add(agent, handshake->buffer, handshake->whole);
	tlsdev_handshake_taken(handshake);
	return true;
}

/* The order matters: an agent hears of a connection first, and of its end last. */
static bool tlsdev_event_from(struct tlsdev_agent *agent, struct tlsdev_connection *connection)
{
	if (connection->tell_open) {
		connection->tell_open = false;
		tlsdev_event_start(agent, TLSDEV_EVENT_OPEN, connection);
		return true;
	}
	if (connection->tell_adopt) {
		connection->tell_adopt = false;
		tlsdev_event_start(agent, TLSDEV_EVENT_ADOPT, connection);
		tlsdev_event_add(agent, connection->blob, connection->blob_length);
		return true;
	}
	if (tlsdev_event_from_requests(agent, connection) ||
	    tlsdev_event_from_handshake(agent, connection))
		return true;
	if (connection->tell_closed) {
		connection->tell_closed = false;
		tlsdev_event_start(agent, TLSDEV_EVENT_CLOSED, connection);
		return true;
	}
	return false;
}

/* Takes the next event. A connection that has told one goes to the end, if it has more. */
static bool tlsdev_agent_next(struct tlsdev_agent *agent)
{
	struct tlsdev_connection *connection;
	bool found = false;

	mutex_lock(&tlsdev_lock);
	while (!found && !list_empty(&tlsdev_ready)) {
		connection = list_first_entry(&tlsdev_ready, struct tlsdev_connection, ready);
		found = tlsdev_event_from(agent, connection);
		if (found)
			list_move_tail(&connection->ready, &tlsdev_ready);
		else
			list_del_init(&connection->ready);
	}
	mutex_unlock(&tlsdev_lock);
	return found;
}

/* ---- the file ---- */

static void tlsdev_agent_offer(struct tlsdev_connection *connection)
{
	if (connection->state != TLSDEV_STATE_KERNEL)
		return;
	connection->known = true;
	connection->tell_adopt = true;
	tlsdev_agent_tell(connection);
}

static int tlsdev_agent_open(struct inode *inode, struct file *file)
{
	struct tlsdev_agent *agent;
	int ret = 0;

	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	agent = kvzalloc(sizeof(*agent), GFP_KERNEL_ACCOUNT);
	if (!agent)
		return -ENOMEM;
	agent->user_ns = file->f_cred->user_ns;	/* the file keeps it */
	agent->net = get_net(current->nsproxy->net_ns);
	mutex_init(&agent->reading);

	mutex_lock(&tlsdev_lock);
	if (tlsdev_agent) {
		ret = -EBUSY;
	} else {
		tlsdev_agent = agent;
		tlsdev_connection_each(tlsdev_agent_offer);
	}
	mutex_unlock(&tlsdev_lock);
	if (ret)
		goto err_free;

	file->private_data = agent;
	return stream_open(inode, file);

err_free:
	put_net(agent->net);
	kvfree(agent);
	return ret;
}

static int tlsdev_agent_release(struct inode *inode, struct file *file)
{
	struct tlsdev_agent *agent = file->private_data;

	mutex_lock(&tlsdev_lock);
	tlsdev_agent = NULL;
	tlsdev_connection_each(tlsdev_connection_orphan);
	mutex_unlock(&tlsdev_lock);

	put_net(agent->net);
	kvfree(agent);
	return 0;
}

static int tlsdev_agent_copy(struct tlsdev_agent *agent, struct iov_iter *to)
{
	size_t length = agent->event.length;

	if (copy_to_iter(&agent->event, sizeof(agent->event), to) != sizeof(agent->event) ||
	    copy_to_iter(agent->payload, length, to) != length)
		return -EFAULT;
	return sizeof(agent->event) + length;
}

static ssize_t tlsdev_agent_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct tlsdev_agent *agent = iocb->ki_filp->private_data;
	bool nonblock = (iocb->ki_filp->f_flags & O_NONBLOCK) || (iocb->ki_flags & IOCB_NOWAIT);
	ssize_t ret;

	if (iov_iter_count(to) < TLSDEV_EVENT_MAX)
		return -EINVAL;
	for (;;) {
		ret = mutex_lock_interruptible(&agent->reading);
		if (ret)
			return ret;
		if (tlsdev_agent_next(agent)) {
			ret = tlsdev_agent_copy(agent, to);
			mutex_unlock(&agent->reading);
			return ret;
		}
		mutex_unlock(&agent->reading);
		if (nonblock)
			return -EAGAIN;
		ret = wait_event_interruptible(tlsdev_agent_wait,
					       !list_empty_careful(&tlsdev_ready));
		if (ret)
			return ret;
	}
}

static __poll_t tlsdev_agent_poll(struct file *file, poll_table *wait)
{
	poll_wait(file, &tlsdev_agent_wait, wait);
	return list_empty_careful(&tlsdev_ready) ? 0 : EPOLLIN | EPOLLRDNORM;
}

/* ---- ioctls: each looks its connection up and acts, under tlsdev_lock ---- */

static int tlsdev_agent_info(struct tlsdev_info *info)
{
	*info = (struct tlsdev_info){ .version = TLSDEV_VERSION };
	tlsdev_device_info(info);
	return 0;
}

static bool tlsdev_is_errno(s32 error)
{
	return error >= 0 && error <= MAX_ERRNO;
}

static int tlsdev_agent_answer(const struct tlsdev_answer *answer)
{
	struct tlsdev_connection *connection = tlsdev_connection_find(answer->id);
	struct tlsdev_request *request;

	if (!tlsdev_is_errno(answer->error))
		return -EINVAL;
	request = connection ? tlsdev_request_find(connection, answer->seq) : NULL;
	if (!request)
		return -ENOENT;
	tlsdev_request_answer(connection, request, -answer->error);
	return 0;
}

static int tlsdev_agent_set_state(const struct tlsdev_set_state *set)
{
	struct tlsdev_connection *connection = tlsdev_connection_find(set->id);
	struct file *carrier;
	int ret;

	if (!connection)
		return -ENOENT;
	if (set->state >= TLSDEV_STATES || !tlsdev_is_errno(set->error))
		return -EINVAL;
	if (set->state == TLSDEV_STATE_FAILED ? !set->error :
	    set->error && set->state != TLSDEV_STATE_NEW)
		return -EINVAL;
	if (set->state != TLSDEV_STATE_KERNEL)
		return tlsdev_connection_set_state(connection, set->state, -set->error);

	carrier = fget(set->carrier);
	if (!carrier)
		return -EBADF;
	ret = tlsdev_connection_set_carrier(connection, carrier);
	if (ret)
		fput(carrier);
	return ret;
}

static int tlsdev_agent_end(const struct tlsdev_end *end)
{
	struct tlsdev_connection *connection = tlsdev_connection_find(end->id);

	if (!connection)
		return -ENOENT;
	if (connection->state != TLSDEV_STATE_KERNEL)
		return -ENOTCONN;
	switch (end->how) {
	case TLSDEV_END_WRITING:
		tlsdev_connection_end_writing(connection);
		return 0;
	case TLSDEV_END_ALL:
		tlsdev_connection_hang_up(connection);
		return 0;
	default:
		return -EINVAL;
	}
}

static int tlsdev_agent_query(struct tlsdev_agent *agent, struct tlsdev_status *status)
{
	struct tlsdev_connection *connection = tlsdev_connection_find(status->id);

	if (!connection)
		return -ENOENT;
	*status = (struct tlsdev_status){
		.id = connection->id,
		.state = connection->state,
		.error = -connection->error,
		.uid = from_kuid_munged(agent->user_ns, connection->uid),
		.gid = from_kgid_munged(agent->user_ns, connection->gid),
	};
	tlsdev_stream_status(connection, status);
	return 0;
}

static int tlsdev_agent_forget(const u64 *id)
{
	struct tlsdev_connection *connection = tlsdev_connection_find(*id);

	return connection ? tlsdev_connection_forget(connection) : -ENOENT;
}

/* The two that allocate, or touch user space, do that outside the lock. */

static int tlsdev_agent_set_blob(const struct tlsdev_blob *set)
{
	struct tlsdev_connection *connection;
	u8 *blob;

	if (set->length > TLSDEV_BLOB_MAX)
		return -EINVAL;
	blob = memdup_user(u64_to_user_ptr(set->address), set->length);
	if (IS_ERR(blob))
		return PTR_ERR(blob);

	mutex_lock(&tlsdev_lock);
	connection = tlsdev_connection_find(set->id);
	if (connection) {
		swap(connection->blob, blob);
		connection->blob_length = set->length;
	}
	mutex_unlock(&tlsdev_lock);
	kfree(blob);
	return connection ? 0 : -ENOENT;
}

static struct file *tlsdev_agent_find_carrier(const struct tlsdev_carrier *carrier)
{
	struct tlsdev_connection *connection;
	struct tlsdev_request *request;
	struct file *file = NULL;

	mutex_lock(&tlsdev_lock);
	connection = tlsdev_connection_find(carrier->id);
	request = connection ? tlsdev_request_find(connection, carrier->seq) : NULL;
	if (request && carrier->index < request->carrier_count)
		file = get_file(request->carriers[carrier->index]);
	mutex_unlock(&tlsdev_lock);
	return file;
}

static int tlsdev_receive_fd(struct file *file)
{
#ifdef TLSDEV_RECEIVE_FD_TAKES_USER_POINTER
	return receive_fd(file, NULL, O_CLOEXEC);
#else
	return receive_fd(file, O_CLOEXEC);
#endif
}

static int tlsdev_agent_get_carrier(const struct tlsdev_carrier *carrier)
{
	struct file *file = tlsdev_agent_find_carrier(carrier);
	int ret;

	if (!file)
		return -ENOENT;
	ret = tlsdev_receive_fd(file);
	fput(file);
	return ret;
}

static int tlsdev_agent_dispatch(struct tlsdev_agent *agent, unsigned int command, void *argument)
{
	int ret;

	switch (command) {
	case TLSDEV_IOC_INFO:
		return tlsdev_agent_info(argument);
	case TLSDEV_IOC_BLOB:
		return tlsdev_agent_set_blob(argument);
	case TLSDEV_IOC_CARRIER:
		return tlsdev_agent_get_carrier(argument);
	}

	mutex_lock(&tlsdev_lock);
	switch (command) {
	case TLSDEV_IOC_ANSWER:
		ret = tlsdev_agent_answer(argument);
		break;
	case TLSDEV_IOC_STATE:
		ret = tlsdev_agent_set_state(argument);
		break;
	case TLSDEV_IOC_END:
		ret = tlsdev_agent_end(argument);
		break;
	case TLSDEV_IOC_QUERY:
		ret = tlsdev_agent_query(agent, argument);
		break;
	case TLSDEV_IOC_FORGET:
		ret = tlsdev_agent_forget(argument);
		break;
	case TLSDEV_IOC_LIMITS:
		ret = tlsdev_connection_set_limits(argument);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&tlsdev_lock);
	return ret;
}

/* Arguments come and go by value, as large as the command's number says. */
static long tlsdev_agent_ioctl(struct file *file, unsigned int command, unsigned long address)
{
	union {
		struct tlsdev_info info;
		struct tlsdev_answer answer;
		struct tlsdev_carrier carrier;
		struct tlsdev_set_state state;
		struct tlsdev_blob blob;
		struct tlsdev_end end;
		struct tlsdev_status status;
		struct tlsdev_limits limits;
		u64 id;
	} argument = {};
	void __user *user = (void __user *)address;
	size_t size = _IOC_SIZE(command);
	long ret;

	if (_IOC_TYPE(command) != 'T' || size > sizeof(argument))
		return -ENOTTY;
	if ((_IOC_DIR(command) & _IOC_WRITE) && copy_from_user(&argument, user, size))
		return -EFAULT;
	ret = tlsdev_agent_dispatch(file->private_data, command, &argument);
	if (ret >= 0 && (_IOC_DIR(command) & _IOC_READ) && copy_to_user(user, &argument, size))
		return -EFAULT;
	return ret;
}

static const struct file_operations tlsdev_agent_operations = {
	.owner		= THIS_MODULE,
	.open		= tlsdev_agent_open,
	.release	= tlsdev_agent_release,
	.read_iter	= tlsdev_agent_read_iter,
	.poll		= tlsdev_agent_poll,
	.unlocked_ioctl	= tlsdev_agent_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice tlsdev_agent_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "tlsagent",
	.mode	= 0600,
	.fops	= &tlsdev_agent_operations,
};

int tlsdev_agent_init(void)
{
	return misc_register(&tlsdev_agent_device);
}

void tlsdev_agent_exit(void)
{
	misc_deregister(&tlsdev_agent_device);
}
