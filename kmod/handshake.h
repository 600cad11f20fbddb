/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Handshake messages that come after the handshake, on their way to the agent.
 *
 * Messages and records do not keep to each other's bounds, so the bytes are
 * framed: type, three bytes of length, body. What the messages say is the agent's
 * affair; a message is kept whole or not at all.
 */
#ifndef TLSDEV_HANDSHAKE_H
#define TLSDEV_HANDSHAKE_H

#include <linux/types.h>

struct tlsdev_connection;

/* Under tlsdev_lock; filled by one task at a time, who holds rx_control. */
struct tlsdev_handshake {
	u8 header[4];			/* of the message that is arriving */
	unsigned int header_have;
	unsigned int left;		/* bytes of its body still to come */
	u8 *buffer;			/* TLSDEV_HANDSHAKE_MAX: whole messages, then that one */
	unsigned int whole;		/* bytes of whole ones */
	unsigned int used;
	bool dropping;			/* that one does not fit, or nobody wants it */
};

bool tlsdev_handshake_receive(struct tlsdev_connection *connection, const u8 *bytes,
			      size_t length);
void tlsdev_handshake_taken(struct tlsdev_handshake *handshake);
void tlsdev_handshake_drop(struct tlsdev_handshake *handshake);

#endif
