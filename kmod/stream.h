/* SPDX-License-Identifier: GPL-2.0 */
/* The bytes: what runs between a data file and a socket with kernel TLS. */
#ifndef TLSDEV_STREAM_H
#define TLSDEV_STREAM_H

#include <linux/fs.h>
#include <linux/poll.h>

struct pipe_inode_info;
struct tlsdev_connection;
struct tlsdev_status;

int tlsdev_stream_check(struct file *carrier);
void tlsdev_stream_start(struct tlsdev_connection *connection, struct file *carrier);

ssize_t tlsdev_stream_read(struct tlsdev_connection *connection, struct iov_iter *to,
			   bool nonblock);
ssize_t tlsdev_stream_write(struct tlsdev_connection *connection, struct iov_iter *from,
			    bool nonblock);
ssize_t tlsdev_stream_splice_read(struct tlsdev_connection *connection,
				  struct pipe_inode_info *pipe, size_t length,
				  unsigned int flags);
__poll_t tlsdev_stream_poll(struct tlsdev_connection *connection, struct file *file,
			    poll_table *wait);

int tlsdev_stream_farewell(struct tlsdev_connection *connection);
int tlsdev_stream_leave(struct tlsdev_connection *connection);
void tlsdev_stream_hang_up(struct tlsdev_connection *connection);
void tlsdev_stream_status(struct tlsdev_connection *connection, struct tlsdev_status *status);

#endif
