// SPDX-License-Identifier: GPL-2.0
/* Connections: the table of them, their states, their end. */

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/idr.h>
#include <linux/moduleparam.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <net/sock.h>

#include "agent.h"
#include "connection.h"
#include "device.h"
#include "request.h"
#include "stream.h"

static unsigned int max_connections = 4096;
module_param(max_connections, uint, 0644);
MODULE_PARM_DESC(max_connections, "connections at a time; beyond, opening is ENFILE");

static unsigned int max_per_user = 256;
module_param(max_per_user, uint, 0644);
MODULE_PARM_DESC(max_per_user, "connections of one user at a time; beyond, opening is EMFILE");

/* How long a closed connection's last bytes may take to leave, and how often we look. */
#define TLSDEV_LINGER_TIME	(30 * HZ)
#define TLSDEV_LINGER_STEP	(HZ / 20)

DEFINE_MUTEX(tlsdev_lock);

static DEFINE_IDR(tlsdev_table);
static u32 tlsdev_generation;
static LIST_HEAD(tlsdev_lingering);
static bool tlsdev_leaving;
static struct workqueue_struct *tlsdev_workqueue;

#define TO(state) BIT(TLSDEV_STATE_ ## state)

/* What the agent may set next. STATE_CLOSED can follow all and is never the agent's to set. */
static const unsigned int tlsdev_state_follows[TLSDEV_STATES] = {
	[TLSDEV_STATE_OPENED]	   = TO(NEW) | TO(FAILED),
	[TLSDEV_STATE_NEW]	   = TO(NEW) | TO(HANDSHAKING) | TO(KERNEL) | TO(USER) | TO(FAILED),
	[TLSDEV_STATE_HANDSHAKING] = TO(NEW) | TO(HANDSHAKING) | TO(KERNEL) | TO(USER) | TO(FAILED),
	[TLSDEV_STATE_KERNEL]	   = 0,
	[TLSDEV_STATE_USER]	   = TO(FAILED),
	[TLSDEV_STATE_FAILED]	   = 0,
	[TLSDEV_STATE_CLOSED]	   = 0,
};

static void tlsdev_connection_free(struct kref *kref)
{
	struct tlsdev_connection *connection =
		container_of(kref, struct tlsdev_connection, kref);

	WARN_ON(connection->carrier);
	kvfree(connection->handshake.buffer);
	kfree(connection->blob);
	kfree(connection);
}

void tlsdev_connection_put(struct tlsdev_connection *connection)
{
	kref_put(&connection->kref, tlsdev_connection_free);
}

/* Under tlsdev_lock. Those there are stay. */
int tlsdev_connection_set_limits(const struct tlsdev_limits *limits)
{
	max_connections = limits->max_connections;
	max_per_user = limits->max_per_user;
	return 0;
}

/*
 * The table is walked for each open: it is short, opening is rare beside
 * what follows it, and a count kept for each user would have to be kept right.
 */
static int tlsdev_connection_check_limits(kuid_t uid)
{
	struct tlsdev_connection *connection;
	unsigned int all = 0, own = 0;
	int number;

	idr_for_each_entry(&tlsdev_table, connection, number) {
		all++;
		own += uid_eq(connection->uid, uid);
	}
	if (own >= max_per_user)
		return -EMFILE;
	return all >= max_connections ? -ENFILE : 0;
}

static void tlsdev_connection_farewell(struct work_struct *work);

static struct tlsdev_connection *tlsdev_connection_alloc(void)
{
	struct tlsdev_connection *connection;

	connection = kzalloc(sizeof(*connection), GFP_KERNEL_ACCOUNT);
	if (!connection)
		return NULL;
	kref_init(&connection->kref);
	connection->uid = current_fsuid();
	connection->gid = current_fsgid();
	init_waitqueue_head(&connection->wait);
	INIT_LIST_HEAD(&connection->ready);
	INIT_LIST_HEAD(&connection->requests);
	INIT_LIST_HEAD(&connection->lingering);
	connection->alert_in = TLSDEV_NO_ALERT;
	connection->alert_out = TLSDEV_NO_ALERT;
	mutex_init(&connection->rx_control);
	init_rwsem(&connection->tx_gate);
	INIT_DELAYED_WORK(&connection->farewell, tlsdev_connection_farewell);
	return connection;
}

/* For an open of /dev/tls. The reference that comes back is the file's; close it. */
struct tlsdev_connection *tlsdev_connection_create(void)
{
	struct tlsdev_connection *connection;
	int ret;

	connection = tlsdev_connection_alloc();
	if (!connection)
		return ERR_PTR(-ENOMEM);

	mutex_lock(&tlsdev_lock);
	ret = tlsdev_agent_present() ? tlsdev_connection_check_limits(connection->uid) : -EUNATCH;
	if (ret)
		goto out_unlock;
	/* Cyclic: a number is reused late, so that a stale name is not soon another's. */
	ret = idr_alloc_cyclic(&tlsdev_table, connection, 0, TLSDEV_NUMBERS, GFP_KERNEL);
	if (ret < 0)
		goto out_unlock;

	connection->id = (u64)++tlsdev_generation << 32 | ret;
	connection->in_table = true;
	connection->files = 1;
	kref_get(&connection->kref);
	connection->known = true;
	connection->tell_open = true;
	tlsdev_agent_tell(connection);
	mutex_unlock(&tlsdev_lock);
	return connection;

out_unlock:
	mutex_unlock(&tlsdev_lock);
	tlsdev_connection_put(connection);
	return ERR_PTR(ret);
}

/*
 * For an open of connection `number`'s ctl or data. To others than the owner it
 * looks as if it were not there, which is what a missing number looks like.
 */
struct tlsdev_connection *tlsdev_connection_open(u32 number)
{
	struct tlsdev_connection *connection;

	mutex_lock(&tlsdev_lock);
	connection = idr_find(&tlsdev_table, number);
	if (!connection || connection->state == TLSDEV_STATE_CLOSED ||
	    !(uid_eq(current_fsuid(), connection->uid) || capable(CAP_DAC_OVERRIDE))) {
		mutex_unlock(&tlsdev_lock);
		return ERR_PTR(-ENXIO);
	}
	connection->files++;
	kref_get(&connection->kref);
	mutex_unlock(&tlsdev_lock);
	return connection;
}

/* Under tlsdev_lock, and valid as long as that is held. */
struct tlsdev_connection *tlsdev_connection_find(u64 id)
{
	struct tlsdev_connection *connection = idr_find(&tlsdev_table, lower_32_bits(id));

	return connection && connection->id == id ? connection : NULL;
}

/* Under tlsdev_lock. `visit` may remove what it is shown. */
void tlsdev_connection_each(void (*visit)(struct tlsdev_connection *connection))
{
	struct tlsdev_connection *connection;
	int number;

	idr_for_each_entry(&tlsdev_table, connection, number)
		visit(connection);
}

/* Under tlsdev_lock. The number is free from here on. */
static void tlsdev_connection_remove(struct tlsdev_connection *connection)
{
	if (!connection->in_table)
		return;
	connection->in_table = false;
	connection->known = false;
	list_del_init(&connection->ready);
	idr_remove(&tlsdev_table, tlsdev_connection_number(connection));
	tlsdev_connection_put(connection);
}

/* Under tlsdev_lock. */
static void tlsdev_connection_enter(struct tlsdev_connection *connection,
				    enum tlsdev_state state, int error)
{
	connection->error = error;
	WRITE_ONCE(connection->state, state);
	wake_up_interruptible_poll(&connection->wait,
				   EPOLLIN | EPOLLRDNORM | (error ? EPOLLERR : 0));
}

/* Under tlsdev_lock. `error` is 0 or negative. */
int tlsdev_connection_set_state(struct tlsdev_connection *connection,
				enum tlsdev_state state, int error)
{
	if (!(tlsdev_state_follows[connection->state] & BIT(state)))
		return -EINVAL;
	if (state == TLSDEV_STATE_NEW)
		connection->named = true;
	tlsdev_connection_enter(connection, state, error);
	return 0;
}

/* Under tlsdev_lock. Takes over the caller's reference to `carrier` if it succeeds. */
int tlsdev_connection_set_carrier(struct tlsdev_connection *connection, struct file *carrier)
{
	int ret;

	if (!(tlsdev_state_follows[connection->state] & TO(KERNEL)))
		return -EINVAL;
	ret = tlsdev_stream_check(carrier);
	if (ret)
		return ret;
	tlsdev_stream_start(connection, carrier);
	tlsdev_connection_enter(connection, TLSDEV_STATE_KERNEL, 0);
	return 0;
}

/* Under tlsdev_lock. The agent went away. */
void tlsdev_connection_orphan(struct tlsdev_connection *connection)
{
	connection->known = false;
	connection->tell_open = false;
	connection->tell_adopt = false;
	connection->tell_closed = false;
	list_del_init(&connection->ready);
	tlsdev_request_answer_all(connection, -EUNATCH);
	tlsdev_handshake_drop(&connection->handshake);

	switch (connection->state) {
	case TLSDEV_STATE_KERNEL:
	case TLSDEV_STATE_FAILED:
		break;
	case TLSDEV_STATE_CLOSED:
		tlsdev_connection_remove(connection);
		break;
	default:
		tlsdev_connection_enter(connection, TLSDEV_STATE_FAILED, -EUNATCH);
	}
}

/* Under tlsdev_lock. The agent has finished with it. */
int tlsdev_connection_forget(struct tlsdev_connection *connection)
{
	if (connection->state != TLSDEV_STATE_CLOSED)
		return -EBUSY;
	tlsdev_connection_remove(connection);
	return 0;
}

/* Waits until an agent has said that it knows the connection, or why it will not. */
int tlsdev_connection_wait_named(struct tlsdev_connection *connection)
{
	int ret;

	if (wait_event_interruptible(connection->wait, READ_ONCE(connection->state) !=
						       TLSDEV_STATE_OPENED))
		return -EINTR;

	mutex_lock(&tlsdev_lock);
	ret = connection->named ? 0 : connection->error;
	mutex_unlock(&tlsdev_lock);
	return ret;
}

/*
 * Under tlsdev_lock, in STATE_KERNEL or lingering; so never while take_leave
 * cancels the work. The queued work has its own reference to the connection;
 * one, however often it is queued.
 */
static void tlsdev_connection_schedule_farewell(struct tlsdev_connection *connection,
						unsigned long delay)
{
	kref_get(&connection->kref);
	if (mod_delayed_work(tlsdev_workqueue, &connection->farewell, delay))
		tlsdev_connection_put(connection);
}

/*
 * After the last file is closed, by whoever saw the farewell off: nobody else
 * can reach the carrier then. If that was the work queue, a linger time that
 * the socket's owner has set is not ours to sit out.
 */
static void tlsdev_connection_drop_carrier(struct tlsdev_connection *connection, bool may_wait)
{
	struct file *carrier = connection->carrier;

	if (!may_wait) {
		lock_sock(connection->socket->sk);
		sock_reset_flag(connection->socket->sk, SOCK_LINGER);
		release_sock(connection->socket->sk);
	}
	connection->carrier = NULL;
	connection->socket = NULL;
	fput(carrier);
}

/*
 * Under tlsdev_lock. While files are open we try until they are closed: whoever
 * closes the last of them takes over. After that, for a time.
 */
static bool tlsdev_connection_may_retry(struct tlsdev_connection *connection)
{
	if (list_empty(&connection->lingering))
		return connection->state == TLSDEV_STATE_KERNEL;
	return !tlsdev_leaving && time_before(jiffies, connection->farewell_until);
}

/* The last bytes, where they could not leave at once: tried until they do, or for long enough. */
static void tlsdev_connection_farewell(struct work_struct *work)
{
	struct tlsdev_connection *connection =
		container_of(to_delayed_work(work), struct tlsdev_connection, farewell);
	bool again, lingering;

	if (!connection->carrier)
		goto out_put;
	mutex_lock(&tlsdev_lock);
	lingering = !list_empty(&connection->lingering);
	mutex_unlock(&tlsdev_lock);

	if (test_bit(TLSDEV_HUNG_UP, &connection->flags))
		tlsdev_stream_hang_up(connection);
	again = (lingering ? tlsdev_stream_leave(connection) :
			     tlsdev_stream_farewell(connection)) == -EAGAIN;

	mutex_lock(&tlsdev_lock);
	again = again && tlsdev_connection_may_retry(connection);
	if (again)
		tlsdev_connection_schedule_farewell(connection, TLSDEV_LINGER_STEP);
	else if (lingering)
		list_del_init(&connection->lingering);
	mutex_unlock(&tlsdev_lock);

	if (lingering && !again)
		tlsdev_connection_drop_carrier(connection, false);
out_put:
	tlsdev_connection_put(connection);
}

/* Under tlsdev_lock. These two do not touch the socket, whose lock its owner may hold. */
void tlsdev_connection_end_writing(struct tlsdev_connection *connection)
{
	cmpxchg(&connection->tx_end, 0, -EPIPE);
	tlsdev_connection_schedule_farewell(connection, 0);
}

void tlsdev_connection_hang_up(struct tlsdev_connection *connection)
{
	set_bit(TLSDEV_HUNG_UP, &connection->flags);
	cmpxchg(&connection->rx_end, 0, -ECONNRESET);
	cmpxchg(&connection->tx_end, 0, -EPIPE);
	tlsdev_connection_schedule_farewell(connection, 0);
	wake_up_interruptible_all(&connection->wait);
}

/* Under tlsdev_lock: the last file was closed. Says whether there is a carrier to take leave of. */
static bool tlsdev_connection_retire(struct tlsdev_connection *connection)
{
	bool established = connection->state == TLSDEV_STATE_KERNEL;
	bool unheard = connection->tell_open || connection->tell_adopt;

	tlsdev_connection_enter(connection, TLSDEV_STATE_CLOSED, 0);
	tlsdev_request_answer_all(connection, -ENOENT);
	if (connection->known && !unheard) {
		connection->tell_closed = true;
		tlsdev_agent_tell(connection);
	} else {
		tlsdev_connection_remove(connection);
	}
	return established;
}

/*
 * The last leave: at once, if it can be done without waiting; else by the work
 * queue. `close` or `hangup` may have left work there; it must not run beside us.
 */
static void tlsdev_connection_take_leave(struct tlsdev_connection *connection)
{
	if (cancel_delayed_work_sync(&connection->farewell))
		tlsdev_connection_put(connection);

	if (tlsdev_stream_leave(connection) != -EAGAIN) {
		tlsdev_connection_drop_carrier(connection, true);
		return;
	}

	connection->farewell_until = jiffies + TLSDEV_LINGER_TIME;
	mutex_lock(&tlsdev_lock);
	list_add_tail(&connection->lingering, &tlsdev_lingering);
	tlsdev_connection_schedule_farewell(connection, TLSDEV_LINGER_STEP);
	mutex_unlock(&tlsdev_lock);
}

/* The other end of create and open. */
void tlsdev_connection_close(struct tlsdev_connection *connection)
{
	bool established = false;

	mutex_lock(&tlsdev_lock);
	if (!--connection->files)
		established = tlsdev_connection_retire(connection);
	mutex_unlock(&tlsdev_lock);

	if (established)
		tlsdev_connection_take_leave(connection);
	tlsdev_connection_put(connection);
}

int tlsdev_connection_init(void)
{
	tlsdev_workqueue = alloc_workqueue("tlsdev", WQ_UNBOUND, 0);
	return tlsdev_workqueue ? 0 : -ENOMEM;
}

/*
 * No file is open any more, so the table is empty; what can be left are farewells
 * under way. They get one more try each.
 */
void tlsdev_connection_exit(void)
{
	struct tlsdev_connection *connection;

	mutex_lock(&tlsdev_lock);
	tlsdev_leaving = true;
	list_for_each_entry(connection, &tlsdev_lingering, lingering)
		tlsdev_connection_schedule_farewell(connection, 0);
	mutex_unlock(&tlsdev_lock);
	destroy_workqueue(tlsdev_workqueue);
	WARN_ON(!idr_is_empty(&tlsdev_table));
	idr_destroy(&tlsdev_table);
}
