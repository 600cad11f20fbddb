// SPDX-License-Identifier: GPL-2.0
/*
 * The stream: application data to and from a socket with kernel TLS.
 *
 * kTLS hands records to recvmsg(): data as it is, anything else only with a
 * control buffer for its type. We read without one, straight into the program's
 * memory. When something else is at the head kTLS says so (0 or -EIO, and
 * MSG_CTRUNC), and we take it out and judge it. What ends the stream is kept:
 * every read after it says the same.
 */

#include <linux/bitops.h>
#include <linux/file.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/splice.h>
#include <linux/tcp.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/tls.h>

#include "connection.h"
#include "stream.h"

/* What rx_end says after close_notify. */
#define TLSDEV_END_OF_STREAM	1

#define TLSDEV_RECORD_ALERT	21
#define TLSDEV_RECORD_HANDSHAKE	22
#define TLSDEV_RECORD_DATA	23

#define TLSDEV_LEVEL_WARNING	1
#define TLSDEV_LEVEL_FATAL	2

#define TLSDEV_ALERT_CLOSE_NOTIFY	0
#define TLSDEV_ALERT_UNEXPECTED_MESSAGE	10
#define TLSDEV_ALERT_BAD_RECORD_MAC	20
#define TLSDEV_ALERT_RECORD_OVERFLOW	22
#define TLSDEV_ALERT_DECODE_ERROR	50
#define TLSDEV_ALERT_PROTOCOL_VERSION	70
#define TLSDEV_ALERT_USER_CANCELED	90
#define TLSDEV_ALERT_NO_RENEGOTIATION	100

/* So many control records are taken out at a time; then signals are looked at again. */
#define TLSDEV_RECORDS_AT_ONCE	32

/* A piece of a control record on the stack. Alerts are 2 bytes, tickets some 200. */
#define TLSDEV_PIECE	256

/* ---- the carrier ---- */

static struct tls_context *tlsdev_stream_tls(const struct socket *socket)
{
	return tls_get_ctx(socket->sk);
}

/*
 * Is this a TCP socket with kernel TLS both ways? Nothing else may become a
 * stream: on a plain socket the bytes would go out in the clear. The socket's
 * lock is not taken: the agent has set what we look at, and it stays until the
 * socket is closed.
 */
int tlsdev_stream_check(struct file *carrier)
{
	struct socket *socket = sock_from_file(carrier);
	const struct tcp_ulp_ops *ulp;
	struct tls_context *tls;

	if (!socket)
		return -ENOTSOCK;
	if (!sk_is_inet(socket->sk) || !sk_is_tcp(socket->sk))
		return -EOPNOTSUPP;
	ulp = READ_ONCE(inet_csk(socket->sk)->icsk_ulp_ops);
	if (!ulp || strcmp(ulp->name, "tls"))
		return -EINVAL;
	tls = tlsdev_stream_tls(socket);
	if (!tls || tls->tx_conf == TLS_BASE || tls->rx_conf == TLS_BASE)
		return -EINVAL;
	return 0;
}

/* Under tlsdev_lock, before STATE_KERNEL lets data be opened. */
void tlsdev_stream_start(struct tlsdev_connection *connection, struct file *carrier)
{
	connection->carrier = carrier;
	connection->socket = sock_from_file(carrier);
	connection->tls13 = tlsdev_stream_tls(connection->socket)->prot_info.version ==
			    TLS_1_3_VERSION;
}

/* ---- alerts ---- */

/*
 * Under tx_gate, for writing. Never waits: -EAGAIN if that were needed.
 *
 * kTLS sends under a mutex of its own which MSG_DONTWAIT does not cover; someone
 * who writes to the socket beside us, not through data, can hold it for long.
 * Looking first does not close that hole, but makes it a matter of luck.
 */
static int tlsdev_stream_send_alert(struct tlsdev_connection *connection, u8 level, u8 alert)
{
	union {
		struct cmsghdr header;
		u8 space[CMSG_SPACE(sizeof(u8))];
	} control = {};
	u8 record[2] = { level, alert };
	struct kvec vec = { .iov_base = record, .iov_len = sizeof(record) };
	struct msghdr message = {
		.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	if (mutex_is_locked(&tlsdev_stream_tls(connection->socket)->tx_lock))
		return -EAGAIN;
	control.header.cmsg_level = SOL_TLS;
	control.header.cmsg_type = TLS_SET_RECORD_TYPE;
	control.header.cmsg_len = CMSG_LEN(sizeof(u8));
	*(u8 *)CMSG_DATA(&control.header) = TLSDEV_RECORD_ALERT;
	return kernel_sendmsg(connection->socket, &message, &vec, 1, sizeof(record));
}

/* After tx_gate was held: if writing was ended meanwhile, nobody else could send the last record. */
static void tlsdev_stream_writer_left(struct tlsdev_connection *connection)
{
	if (unlikely(READ_ONCE(connection->tx_end)))
		tlsdev_stream_farewell(connection);
}

/*
 * A handshake message in TLS 1.2 asks for another handshake, which is refused as
 * RFC 5246 section 7.2.2 has it. A refusal that cannot go out at once is left out.
 */
static void tlsdev_stream_refuse_handshake(struct tlsdev_connection *connection)
{
	if (!down_write_trylock(&connection->tx_gate))
		return;
	if (!READ_ONCE(connection->tx_end))
		tlsdev_stream_send_alert(connection, TLSDEV_LEVEL_WARNING,
					 TLSDEV_ALERT_NO_RENEGOTIATION);
	up_write(&connection->tx_gate);
	tlsdev_stream_writer_left(connection);
}

/* ---- how the stream ends ---- */

/* The receiving side is over. Others who wait in recvmsg() must learn it, too. */
static int tlsdev_stream_end_reading(struct tlsdev_connection *connection, int end)
{
	if (!cmpxchg(&connection->rx_end, 0, end)) {
		kernel_sock_shutdown(connection->socket, SHUT_RD);
		wake_up_interruptible_all(&connection->wait);
	}
	return READ_ONCE(connection->rx_end);
}

/* Both are over: the peer did what it must not, and is told so. */
static int tlsdev_stream_abort(struct tlsdev_connection *connection, int error, u16 alert)
{
	/* The alert first: a writer that sees tx_end may be the one to send it. */
	if (!READ_ONCE(connection->tx_end))
		WRITE_ONCE(connection->alert_out, alert);
	if (!cmpxchg(&connection->tx_end, 0, error))
		tlsdev_stream_farewell(connection);
	return tlsdev_stream_end_reading(connection, error);
}

static int tlsdev_stream_judge_alert(struct tlsdev_connection *connection, const u8 *alert,
				     size_t length, bool whole)
{
	if (length != 2 || !whole)
		return tlsdev_stream_abort(connection, -EPROTO, TLSDEV_ALERT_DECODE_ERROR);

	switch (alert[1]) {
	case TLSDEV_ALERT_CLOSE_NOTIFY:
		return tlsdev_stream_end_reading(connection, TLSDEV_END_OF_STREAM);
	case TLSDEV_ALERT_USER_CANCELED:	/* close_notify follows */
		return 0;
	default:
		/* TLS 1.3 knows no other warnings, whatever the level says. */
		if (!connection->tls13 && alert[0] == TLSDEV_LEVEL_WARNING)
			return 0;
		WRITE_ONCE(connection->alert_in, alert[1]);
		set_bit(TLSDEV_FAREWELL_SENT, &connection->flags);
		cmpxchg(&connection->tx_end, 0, -EPROTO);
		return tlsdev_stream_end_reading(connection, -EPROTO);
	}
}

/*
 * After a KeyUpdate the kernel would decrypt with the wrong key. Where it cannot
 * be given the next one, reading ends here, with an error that says why.
 */
static int tlsdev_stream_judge_handshake(struct tlsdev_connection *connection, const u8 *bytes,
					 size_t length, bool whole)
{
	if (connection->tls13)
		return tlsdev_handshake_receive(connection, bytes, length) ?
			tlsdev_stream_end_reading(connection, -EKEYEXPIRED) : 0;
	if (whole)
		tlsdev_stream_refuse_handshake(connection);
	return 0;
}

/* What a receive that brought no byte and no control record means. */
static int tlsdev_stream_judge_error(struct tlsdev_connection *connection, int error)
{
	switch (error) {
	case -EAGAIN:
	case -EINTR:
	case -ERESTARTSYS:
	case -EFAULT:
	case -ENOMEM:
	case -ENOBUFS:
		return error;
	case 0:		/* a FIN with no close_notify: must not look like a whole stream */
		return tlsdev_stream_end_reading(connection, -ECONNRESET);
	case -EBADMSG:
		return tlsdev_stream_abort(connection, -EBADMSG, TLSDEV_ALERT_BAD_RECORD_MAC);
	case -EMSGSIZE:
		return tlsdev_stream_abort(connection, -EPROTO, TLSDEV_ALERT_RECORD_OVERFLOW);
	case -EINVAL:
		return tlsdev_stream_abort(connection, -EPROTO, TLSDEV_ALERT_PROTOCOL_VERSION);
	case -EKEYEXPIRED:	/* kernels that can take new keys say so after a KeyUpdate */
		return tlsdev_stream_end_reading(connection, error);
	default:	/* the socket's: reset, timed out */
		cmpxchg(&connection->tx_end, 0, -EPIPE);
		return tlsdev_stream_end_reading(connection, error);
	}
}

/* What a read returns, once rx_end is set. */
static ssize_t tlsdev_stream_end_result(int end)
{
	return end == TLSDEV_END_OF_STREAM ? 0 : end;
}

/* ---- control records ---- */

/*
 * Receives into kernel memory, with the record's type, without waiting. `type`
 * is 0 when no record was there. `whole` says whether that was the end of it.
 */
static int tlsdev_stream_receive(struct tlsdev_connection *connection, void *buffer,
				 size_t length, int flags, u8 *type, bool *whole)
{
	union {
		struct cmsghdr header;
		u8 space[CMSG_SPACE(sizeof(u8))];
	} control = {};
	struct kvec vec = { .iov_base = buffer, .iov_len = length };
	struct msghdr message = {
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int ret;

	ret = kernel_recvmsg(connection->socket, &message, &vec, 1, length,
			     flags | MSG_DONTWAIT);
	*type = 0;
	if (ret >= 0 && message.msg_controllen < sizeof(control) &&
	    control.header.cmsg_level == SOL_TLS &&
	    control.header.cmsg_type == TLS_GET_RECORD_TYPE)
		*type = *(u8 *)CMSG_DATA(&control.header);
	*whole = message.msg_flags & MSG_EOR;
	return ret;
}

/* Under rx_control, a control record at the head. 0: go on; else how the stream ended. */
static int tlsdev_stream_take_record(struct tlsdev_connection *connection)
{
	u8 piece[TLSDEV_PIECE], type;
	bool whole;
	int ret;

	do {
		ret = tlsdev_stream_receive(connection, piece, sizeof(piece), 0, &type, &whole);
		if (ret < 0)
			return tlsdev_stream_judge_error(connection, ret);

		if (type == TLSDEV_RECORD_ALERT)
			return tlsdev_stream_judge_alert(connection, piece, ret, whole);
		if (type != TLSDEV_RECORD_HANDSHAKE || !ret)
			return tlsdev_stream_abort(connection, -EPROTO,
						   TLSDEV_ALERT_UNEXPECTED_MESSAGE);
		ret = tlsdev_stream_judge_handshake(connection, piece, ret, whole);
	} while (!ret && !whole);
	return ret;
}

/*
 * Takes the control records out that are at the head. Returns 1 if there is
 * something to read behind them, be it the end (rx_end is set then, or a read
 * will find it); -EAGAIN if there is not, or another reader is inside kTLS, who
 * will find it; or another error that passes.
 *
 * We peek before we take: without it, someone else could have taken the control
 * record meanwhile, and we would take data, which is a program's.
 */
static int tlsdev_stream_settle(struct tlsdev_connection *connection)
{
	int budget = TLSDEV_RECORDS_AT_ONCE;
	u8 byte, type;
	bool whole;
	int ret;

	ret = mutex_lock_interruptible(&connection->rx_control);
	if (ret)
		return ret;
	do {
		ret = tlsdev_stream_receive(connection, &byte, 1, MSG_PEEK, &type, &whole);
		if (ret <= 0 && !type)
			ret = tlsdev_stream_judge_error(connection, ret);
		else if (!type || type == TLSDEV_RECORD_DATA)
			ret = 1;
		else
			ret = tlsdev_stream_take_record(connection);
		if (!budget--)
			ret = 1;
	} while (!ret);
	mutex_unlock(&connection->rx_control);

	return READ_ONCE(connection->rx_end) ? 1 : ret;
}

/* ---- reading ---- */

/* A poller that found a reader inside kTLS, and nothing for itself, looks again now. */
static void tlsdev_stream_reader_left(struct tlsdev_connection *connection)
{
	smp_mb();	/* the reader has left kTLS; pairs with the one in tlsdev_stream_readable() */
	if (test_bit(TLSDEV_POLLER_WAITS, &connection->flags) &&
	    test_and_clear_bit(TLSDEV_POLLER_WAITS, &connection->flags))
		wake_up_interruptible_poll(&connection->wait, EPOLLIN | EPOLLRDNORM);
}

/*
 * `ret` is what a receive said that brought no data; `control` whether kTLS has
 * something else at the head. False: try again. True: *result is what to return.
 */
static bool tlsdev_stream_read_is_over(struct tlsdev_connection *connection, int ret,
				       bool control, bool nonblock, ssize_t *result)
{
	int end;

	if (control)
		ret = tlsdev_stream_settle(connection);
	else
		ret = tlsdev_stream_judge_error(connection, ret);

	end = READ_ONCE(connection->rx_end);
	if (end) {
		*result = tlsdev_stream_end_result(end);
		return true;
	}
	/* kTLS waits better than we do: only who must not wait stops here. */
	if (control && (ret > 0 || (ret == -EAGAIN && !nonblock))) {
		cond_resched();
		*result = -EINTR;
		return signal_pending(current);
	}
	*result = ret;
	return true;
}

ssize_t tlsdev_stream_read(struct tlsdev_connection *connection, struct iov_iter *to,
			   bool nonblock)
{
	ssize_t result;
	bool control;
	int end, ret;

	if (!iov_iter_count(to))
		return 0;
	do {
		struct msghdr message = { .msg_iter = *to };

		end = READ_ONCE(connection->rx_end);
		if (end)
			return tlsdev_stream_end_result(end);

		ret = sock_recvmsg(connection->socket, &message, nonblock ? MSG_DONTWAIT : 0);
		tlsdev_stream_reader_left(connection);
		if (ret > 0) {
			*to = message.msg_iter;
			atomic64_add(ret, &connection->data_in);
			return ret;
		}
		control = (ret == 0 || ret == -EIO) && (message.msg_flags & MSG_CTRUNC);
	} while (!tlsdev_stream_read_is_over(connection, ret, control, nonblock, &result));
	return result;
}

/* Has the record parser met something that is no record? That is an EINVAL of its own. */
static bool tlsdev_stream_is_garbled(struct tlsdev_connection *connection)
{
	return tls_sw_ctx_rx(tlsdev_stream_tls(connection->socket))->strp.stopped;
}

/* kTLS splices data without copying it; at a control record it says EINVAL. */
ssize_t tlsdev_stream_splice_read(struct tlsdev_connection *connection,
				  struct pipe_inode_info *pipe, size_t length,
				  unsigned int flags)
{
	struct file *carrier = connection->carrier;
	ssize_t ret, result;
	loff_t position;
	bool control;
	int end;

	do {
		end = READ_ONCE(connection->rx_end);
		if (end)
			return tlsdev_stream_end_result(end);

		position = 0;
		ret = carrier->f_op->splice_read(carrier, &position, pipe, length, flags);
		tlsdev_stream_reader_left(connection);
		if (ret > 0) {
			atomic64_add(ret, &connection->data_in);
			return ret;
		}
		/* 0 can be an empty record, too */
		control = ret == 0 || (ret == -EINVAL && !tlsdev_stream_is_garbled(connection));
	} while (!tlsdev_stream_read_is_over(connection, ret, control,
					     flags & SPLICE_F_NONBLOCK, &result));
	return result;
}

/* ---- polling ---- */

/*
 * The socket says that there is something. Is it for the program? A ticket is
 * not, nor is half a record. If a reader inside kTLS keeps us from seeing, it
 * wakes us when it leaves: hence the bit, before we look.
 */
static bool tlsdev_stream_readable(struct tlsdev_connection *connection)
{
	set_bit(TLSDEV_POLLER_WAITS, &connection->flags);
	smp_mb__after_atomic();	/* pairs with the one in tlsdev_stream_reader_left() */
	return tlsdev_stream_settle(connection) != -EAGAIN;
}

__poll_t tlsdev_stream_poll(struct tlsdev_connection *connection, struct file *file,
			    poll_table *wait)
{
	const __poll_t in = EPOLLIN | EPOLLRDNORM, out = EPOLLOUT | EPOLLWRNORM;
	__poll_t mask;
	int end;

	poll_wait(file, &connection->wait, wait);
	mask = vfs_poll(connection->carrier, wait);

	if ((mask & in) && (poll_requested_events(wait) & in) &&
	    !READ_ONCE(connection->rx_end) && !tlsdev_stream_readable(connection))
		mask &= ~in;

	end = READ_ONCE(connection->rx_end);
	if (end)
		mask |= in | (end == TLSDEV_END_OF_STREAM ? EPOLLRDHUP : EPOLLERR);
	if (READ_ONCE(connection->tx_end))
		mask |= out;
	return mask;
}

/* ---- writing ---- */

ssize_t tlsdev_stream_write(struct tlsdev_connection *connection, struct iov_iter *from,
			    bool nonblock)
{
	struct msghdr message = {
		.msg_flags = MSG_NOSIGNAL | (nonblock ? MSG_DONTWAIT : 0),
	};
	ssize_t ret;

	if (!iov_iter_count(from))
		return 0;

	down_read(&connection->tx_gate);
	ret = READ_ONCE(connection->tx_end);
	/* kTLS would encrypt, meet the error, and say that it took the bytes. */
	if (!ret && (READ_ONCE(connection->socket->sk->sk_shutdown) & SEND_SHUTDOWN))
		ret = -EPIPE;
	if (!ret) {
		message.msg_iter = *from;
		ret = sock_sendmsg(connection->socket, &message);
		if (ret > 0) {
			*from = message.msg_iter;
			atomic64_add(ret, &connection->data_out);
		}
	}
	up_read(&connection->tx_gate);
	tlsdev_stream_writer_left(connection);
	return ret;
}

/* ---- the last record ---- */

/*
 * Sends the last record if that was not done yet: the alert that says what was
 * wrong, or close_notify. Never waits: -EAGAIN if that were needed.
 */
int tlsdev_stream_farewell(struct tlsdev_connection *connection)
{
	u16 alert = READ_ONCE(connection->alert_out);
	int ret = 0;

	if (test_bit(TLSDEV_HUNG_UP, &connection->flags))
		return 0;
	if (!down_write_trylock(&connection->tx_gate))
		return -EAGAIN;
	if (!test_bit(TLSDEV_FAREWELL_SENT, &connection->flags)) {
		if (alert != TLSDEV_NO_ALERT) {
			sock_error(connection->socket->sk);	/* kTLS sends nothing over one */
			ret = tlsdev_stream_send_alert(connection, TLSDEV_LEVEL_FATAL, alert);
		} else {
			ret = tlsdev_stream_send_alert(connection, TLSDEV_LEVEL_WARNING,
						       TLSDEV_ALERT_CLOSE_NOTIFY);
		}
		if (ret != -EAGAIN)
			set_bit(TLSDEV_FAREWELL_SENT, &connection->flags);
	}
	up_write(&connection->tx_gate);
	return ret == -EAGAIN ? ret : 0;
}

/*
 * Can the socket be dropped without losing what was written? What kTLS has not
 * given to TCP would be lost; and if something is unread, or comes later, TCP
 * answers our close with a reset, and what it has not sent is lost, too.
 */
static bool tlsdev_stream_is_drained(struct tlsdev_connection *connection)
{
	struct sock *sk = connection->socket->sk;
	const struct tls_context *tls = tlsdev_stream_tls(connection->socket);
	const struct tcp_sock *tcp = tcp_sk(sk);
	u32 written = READ_ONCE(tcp->write_seq);

	if (READ_ONCE(sk->sk_state) == TCP_CLOSE)
		return true;
	if (tls->tx_conf == TLS_SW && !list_empty_careful(&tls_sw_ctx_tx(tls)->tx_list))
		return false;
	if (READ_ONCE(tcp->snd_una) == written)
		return true;
	return READ_ONCE(tcp->snd_nxt) == written &&
	       skb_queue_empty_lockless(&sk->sk_receive_queue);
}

/*
 * After the last file is closed. -EAGAIN: something must leave yet. Tickets that
 * the program could not have read do not count as unread.
 */
int tlsdev_stream_leave(struct tlsdev_connection *connection)
{
	if (test_bit(TLSDEV_HUNG_UP, &connection->flags)) {
		tlsdev_stream_hang_up(connection);
		return 0;
	}
	if (tlsdev_stream_farewell(connection) == -EAGAIN)
		return -EAGAIN;
	/* After it: the peer's answer, its own close_notify, may be here already. */
	if (!READ_ONCE(connection->rx_end))
		tlsdev_stream_settle(connection);
	return tlsdev_stream_is_drained(connection) ? 0 : -EAGAIN;
}

/* Whoever waits in the socket is woken; the peer sees the stream break off. */
void tlsdev_stream_hang_up(struct tlsdev_connection *connection)
{
	kernel_sock_shutdown(connection->socket, SHUT_RDWR);
}

/* ---- figures ---- */

static u64 tlsdev_stream_sequence(const struct cipher_context *cipher)
{
	__be64 sequence;

	memcpy(&sequence, cipher->rec_seq, sizeof(sequence));
	return be64_to_cpu(sequence);
}

/* Under tlsdev_lock. The socket's lock is its owner's to hold; figures may be a little off. */
static void tlsdev_stream_status_socket(struct tlsdev_connection *connection,
					struct tlsdev_status *status)
{
	const struct tcp_sock *tcp = tcp_sk(connection->socket->sk);
	const struct tls_context *tls = tlsdev_stream_tls(connection->socket);

	status->records_in = tlsdev_stream_sequence(&tls->rx);
	status->records_out = tlsdev_stream_sequence(&tls->tx);
	status->wire_in = READ_ONCE(tcp->bytes_received);
	status->wire_out = READ_ONCE(tcp->bytes_acked) +
			   (READ_ONCE(tcp->write_seq) - READ_ONCE(tcp->snd_una));
}

void tlsdev_stream_status(struct tlsdev_connection *connection, struct tlsdev_status *status)
{
	int end = READ_ONCE(connection->rx_end);

	if (end)
		status->flags |= TLSDEV_STATUS_READ_OVER;
	if (READ_ONCE(connection->tx_end))
		status->flags |= TLSDEV_STATUS_WRITE_OVER;
	status->read_error = end < 0 ? -end : 0;
	status->alert_in = READ_ONCE(connection->alert_in);
	status->alert_out = READ_ONCE(connection->alert_out);
	status->data_in = atomic64_read(&connection->data_in);
	status->data_out = atomic64_read(&connection->data_out);
	if (connection->state == TLSDEV_STATE_KERNEL)
		tlsdev_stream_status_socket(connection, status);
}
