// SPDX-License-Identifier: GPL-2.0
/* The files that programs open: /dev/tls, and each connection's ctl and data. */

#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/uio.h>

#include "agent.h"
#include "connection.h"
#include "device.h"
#include "request.h"
#include "stream.h"

/* An open ctl: the connection, and how much of `N\n` this open has read. */
struct tlsdev_ctl {
	struct tlsdev_connection *connection;
	struct mutex lock;	/* for position */
	size_t position;
};

static bool tlsdev_is_nonblock(const struct kiocb *iocb)
{
	return (iocb->ki_filp->f_flags & O_NONBLOCK) || (iocb->ki_flags & IOCB_NOWAIT);
}

/* ---- ctl ---- */

/* Takes over the caller's open of `connection`. */
static int tlsdev_ctl_attach(struct file *file, struct tlsdev_connection *connection)
{
	struct tlsdev_ctl *ctl = kzalloc(sizeof(*ctl), GFP_KERNEL_ACCOUNT);

	if (!ctl) {
		tlsdev_connection_close(connection);
		return -ENOMEM;
	}
	ctl->connection = connection;
	mutex_init(&ctl->lock);
	file->private_data = ctl;
	return stream_open(file_inode(file), file);
}

/* misc_open() holds a lock of the whole system's meanwhile: nothing here may wait. */
static int tlsdev_clone_open(struct inode *inode, struct file *file)
{
	struct tlsdev_connection *connection = tlsdev_connection_create();

	return IS_ERR(connection) ? PTR_ERR(connection) : tlsdev_ctl_attach(file, connection);
}

static int tlsdev_ctl_open(struct inode *inode, struct file *file)
{
	struct tlsdev_connection *connection = tlsdev_connection_open(iminor(inode));

	return IS_ERR(connection) ? PTR_ERR(connection) : tlsdev_ctl_attach(file, connection);
}

static int tlsdev_ctl_release(struct inode *inode, struct file *file)
{
	struct tlsdev_ctl *ctl = file->private_data;

	tlsdev_connection_close(ctl->connection);
	mutex_destroy(&ctl->lock);
	kfree(ctl);
	return 0;
}

static ssize_t tlsdev_ctl_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct tlsdev_ctl *ctl = iocb->ki_filp->private_data;
	char text[16];
	size_t length, copied;
	int ret;

	ret = tlsdev_connection_wait_named(ctl->connection);
	if (ret)
		return ret;

	length = scnprintf(text, sizeof(text), "%u\n",
			   tlsdev_connection_number(ctl->connection));
	mutex_lock(&ctl->lock);
	copied = copy_to_iter(text + ctl->position, length - ctl->position, to);
	ret = copied || ctl->position == length || !iov_iter_count(to) ? 0 : -EFAULT;
	ctl->position += copied;
	mutex_unlock(&ctl->lock);
	return ret ?: copied;
}

/*
 * Whoever writes must be who opened: a descriptor in a line is one of the
 * writer's, and a more privileged program that was handed a ctl as its stderr
 * must not be talked into giving one away.
 */
static bool tlsdev_ctl_is_writer_opener(const struct file *file)
{
	const struct cred *opener = file->f_cred, *writer = current_cred();

	return uid_eq(writer->uid, opener->uid) && uid_eq(writer->euid, opener->euid) &&
	       uid_eq(writer->fsuid, opener->fsuid) &&
	       gid_eq(writer->gid, opener->gid) && gid_eq(writer->egid, opener->egid) &&
	       writer->user_ns == opener->user_ns &&
	       cap_issubset(writer->cap_effective, opener->cap_effective);
}

/* What is understood of an established connection's ctl where there is no agent. */
static int tlsdev_ctl_command_alone(struct tlsdev_connection *connection,
				    const struct tlsdev_request *request)
{
	static const struct {
		const char *line;
		void (*action)(struct tlsdev_connection *connection);
	} commands[] = {
		{ "close",	tlsdev_connection_end_writing },
		{ "close\n",	tlsdev_connection_end_writing },
		{ "hangup",	tlsdev_connection_hang_up },
		{ "hangup\n",	tlsdev_connection_hang_up },
	};
	int i, ret = -EUNATCH;

	mutex_lock(&tlsdev_lock);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (request->length == strlen(commands[i].line) &&
		    !memcmp(request->text, commands[i].line, request->length) &&
		    connection->state == TLSDEV_STATE_KERNEL) {
			commands[i].action(connection);
			ret = 0;
		}
	}
	mutex_unlock(&tlsdev_lock);
	return ret;
}

static ssize_t tlsdev_ctl_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct tlsdev_ctl *ctl = iocb->ki_filp->private_data;
	struct tlsdev_request *request;
	ssize_t ret;

	if (!user_backed_iter(from))
		return -EINVAL;
	if (!tlsdev_ctl_is_writer_opener(iocb->ki_filp))
		return -EPERM;
	if (!iov_iter_count(from))
		return 0;
	ret = tlsdev_connection_wait_named(ctl->connection);
	if (ret)
		return ret;

	request = tlsdev_request_create(from, tlsdev_is_nonblock(iocb));
	if (IS_ERR(request))
		return PTR_ERR(request);
	ret = tlsdev_request_post(ctl->connection, request);
	if (!ret)
		ret = tlsdev_request_wait(ctl->connection, request);
	else if (ret == -EUNATCH)
		ret = tlsdev_ctl_command_alone(ctl->connection, request);
	if (!ret)
		ret = request->length;
	tlsdev_request_put(request);
	return ret;
}

/* POLLIN: no handshake is under way (any more). Lines can be written at any time. */
static __poll_t tlsdev_ctl_poll(struct file *file, poll_table *wait)
{
	struct tlsdev_ctl *ctl = file->private_data;
	struct tlsdev_connection *connection = ctl->connection;
	__poll_t mask = EPOLLOUT | EPOLLWRNORM;

	poll_wait(file, &connection->wait, wait);
	switch (READ_ONCE(connection->state)) {
	case TLSDEV_STATE_OPENED:
	case TLSDEV_STATE_HANDSHAKING:
		return mask;
	default:
		/* In NEW too: a line in the background may fail, and the next one do better. */
		mask |= EPOLLIN | EPOLLRDNORM;
		return READ_ONCE(connection->error) ? mask | EPOLLERR : mask;
	}
}

static const struct file_operations tlsdev_clone_operations = {
	.owner		= THIS_MODULE,
	.open		= tlsdev_clone_open,
	.release	= tlsdev_ctl_release,
	.read_iter	= tlsdev_ctl_read_iter,
	.write_iter	= tlsdev_ctl_write_iter,
	.poll		= tlsdev_ctl_poll,
};

static const struct file_operations tlsdev_ctl_operations = {
	.owner		= THIS_MODULE,
	.open		= tlsdev_ctl_open,
	.release	= tlsdev_ctl_release,
	.read_iter	= tlsdev_ctl_read_iter,
	.write_iter	= tlsdev_ctl_write_iter,
	.poll		= tlsdev_ctl_poll,
};

/* ---- data ---- */

static int tlsdev_data_check(struct tlsdev_connection *connection)
{
	int ret;

	mutex_lock(&tlsdev_lock);
	switch (connection->state) {
	case TLSDEV_STATE_KERNEL:
		ret = test_bit(TLSDEV_HUNG_UP, &connection->flags) ? -ENOTCONN : 0;
		break;
	case TLSDEV_STATE_FAILED:
		ret = connection->error;
		break;
	case TLSDEV_STATE_NEW:
		ret = connection->error ?: -ENOTCONN;
		break;
	default:
		ret = -ENOTCONN;
	}
	mutex_unlock(&tlsdev_lock);
	return ret;
}

static int tlsdev_data_open(struct inode *inode, struct file *file)
{
	struct tlsdev_connection *connection = tlsdev_connection_open(iminor(inode));
	int ret;

	if (IS_ERR(connection))
		return PTR_ERR(connection);
	ret = tlsdev_data_check(connection);
	if (ret) {
		tlsdev_connection_close(connection);
		return ret;
	}
	file->private_data = connection;
	return stream_open(inode, file);
}

static int tlsdev_data_release(struct inode *inode, struct file *file)
{
	tlsdev_connection_close(file->private_data);
	return 0;
}

static ssize_t tlsdev_data_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	return tlsdev_stream_read(iocb->ki_filp->private_data, to, tlsdev_is_nonblock(iocb));
}

static ssize_t tlsdev_data_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	return tlsdev_stream_write(iocb->ki_filp->private_data, from, tlsdev_is_nonblock(iocb));
}

static ssize_t tlsdev_data_splice_read(struct file *file, loff_t *position,
				       struct pipe_inode_info *pipe, size_t length,
				       unsigned int flags)
{
	if (file->f_flags & O_NONBLOCK)
		flags |= SPLICE_F_NONBLOCK;
	return tlsdev_stream_splice_read(file->private_data, pipe, length, flags);
}

static __poll_t tlsdev_data_poll(struct file *file, poll_table *wait)
{
	return tlsdev_stream_poll(file->private_data, file, wait);
}

static const struct file_operations tlsdev_data_operations = {
	.owner		= THIS_MODULE,
	.open		= tlsdev_data_open,
	.release	= tlsdev_data_release,
	.read_iter	= tlsdev_data_read_iter,
	.write_iter	= tlsdev_data_write_iter,
	.splice_read	= tlsdev_data_splice_read,
	.splice_write	= iter_file_splice_write,
	.poll		= tlsdev_data_poll,
};

/* ---- the devices ---- */

static struct miscdevice tlsdev_clone = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "tls",
	.mode	= 0666,
	.fops	= &tlsdev_clone_operations,
};

/* One range of minors, a major of its own. A node N of it is connection N's. */
struct tlsdev_range {
	const char *name;
	const struct file_operations *operations;
	dev_t first;
	struct cdev cdev;
};

static struct tlsdev_range tlsdev_ctl_range = {
	.name = "tlsctl", .operations = &tlsdev_ctl_operations,
};

static struct tlsdev_range tlsdev_data_range = {
	.name = "tlsdata", .operations = &tlsdev_data_operations,
};

static int tlsdev_range_register(struct tlsdev_range *range)
{
	int ret;

	ret = alloc_chrdev_region(&range->first, 0, TLSDEV_NUMBERS, range->name);
	if (ret)
		return ret;
	cdev_init(&range->cdev, range->operations);
	range->cdev.owner = THIS_MODULE;
	ret = cdev_add(&range->cdev, range->first, TLSDEV_NUMBERS);
	if (ret)
		unregister_chrdev_region(range->first, TLSDEV_NUMBERS);
	return ret;
}

static void tlsdev_range_unregister(struct tlsdev_range *range)
{
	cdev_del(&range->cdev);
	unregister_chrdev_region(range->first, TLSDEV_NUMBERS);
}

bool tlsdev_device_owns(const struct file *file)
{
	return file->f_op == &tlsdev_clone_operations || file->f_op == &tlsdev_ctl_operations ||
	       file->f_op == &tlsdev_data_operations;
}

void tlsdev_device_info(struct tlsdev_info *info)
{
	info->clone_major = MISC_MAJOR;
	info->clone_minor = tlsdev_clone.minor;
	info->ctl_major = MAJOR(tlsdev_ctl_range.first);
	info->data_major = MAJOR(tlsdev_data_range.first);
}

int tlsdev_device_init(void)
{
	int ret;

	ret = tlsdev_range_register(&tlsdev_ctl_range);
	if (ret)
		return ret;
	ret = tlsdev_range_register(&tlsdev_data_range);
	if (ret)
		goto err_ctl;
	ret = misc_register(&tlsdev_clone);
	if (ret)
		goto err_data;
	return 0;

err_data:
	tlsdev_range_unregister(&tlsdev_data_range);
err_ctl:
	tlsdev_range_unregister(&tlsdev_ctl_range);
	return ret;
}

void tlsdev_device_exit(void)
{
	misc_deregister(&tlsdev_clone);
	tlsdev_range_unregister(&tlsdev_data_range);
	tlsdev_range_unregister(&tlsdev_ctl_range);
}
