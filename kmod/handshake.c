// SPDX-License-Identifier: GPL-2.0
/* Handshake messages that come after the handshake: framed, and kept for the agent. */

#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "agent.h"
#include "connection.h"
#include "handshake.h"

#define TLSDEV_HANDSHAKE_KEY_UPDATE	24

static void tlsdev_handshake_keep(struct tlsdev_handshake *handshake, const u8 *bytes,
				  size_t length)
{
	if (!handshake->buffer && !handshake->dropping)
		handshake->buffer = kvmalloc(TLSDEV_HANDSHAKE_MAX, GFP_KERNEL_ACCOUNT);
	if (!handshake->buffer || length > TLSDEV_HANDSHAKE_MAX - handshake->used)
		handshake->dropping = true;
	if (handshake->dropping)
		return;
	memcpy(handshake->buffer + handshake->used, bytes, length);
	handshake->used += length;
}

static void tlsdev_handshake_finish(struct tlsdev_handshake *handshake)
{
	if (handshake->dropping)
		handshake->used = handshake->whole;
	else
		handshake->whole = handshake->used;
	handshake->header_have = 0;
	handshake->dropping = false;
}

/* Takes what of the arriving message's header or body is in `bytes`; says how much that is. */
static size_t tlsdev_handshake_take(struct tlsdev_handshake *handshake, const u8 *bytes,
				    size_t length)
{
	const u8 *header = handshake->header;
	size_t taken = 1;

	if (handshake->header_have < sizeof(handshake->header)) {
		handshake->header[handshake->header_have++] = *bytes;
		if (handshake->header_have == sizeof(handshake->header))
			handshake->left = header[1] << 16 | header[2] << 8 | header[3];
	} else {
		taken = min_t(size_t, length, handshake->left);
		handshake->left -= taken;
	}
	tlsdev_handshake_keep(handshake, bytes, taken);
	return taken;
}

static bool tlsdev_handshake_is_complete(const struct tlsdev_handshake *handshake)
{
	return handshake->header_have == sizeof(handshake->header) && !handshake->left;
}

/* Under rx_control. Says whether there was a KeyUpdate among what became complete. */
bool tlsdev_handshake_receive(struct tlsdev_connection *connection, const u8 *bytes,
			      size_t length)
{
	struct tlsdev_handshake *handshake = &connection->handshake;
	bool key_update = false;

	mutex_lock(&tlsdev_lock);
	while (length) {
		size_t taken;

		if (!connection->known)
			handshake->dropping = true;
		taken = tlsdev_handshake_take(handshake, bytes, length);
		if (tlsdev_handshake_is_complete(handshake)) {
			if (handshake->header[0] == TLSDEV_HANDSHAKE_KEY_UPDATE)
				key_update = true;
			tlsdev_handshake_finish(handshake);
		}
		bytes += taken;
		length -= taken;
	}
	if (handshake->whole)
		tlsdev_agent_tell(connection);
	mutex_unlock(&tlsdev_lock);
	return key_update;
}

/* Under tlsdev_lock. The agent has the whole ones. */
void tlsdev_handshake_taken(struct tlsdev_handshake *handshake)
{
	handshake->used -= handshake->whole;
	memmove(handshake->buffer, handshake->buffer + handshake->whole, handshake->used);
	handshake->whole = 0;
}

/* Under tlsdev_lock. The agent has gone; the next could not use half a message. */
void tlsdev_handshake_drop(struct tlsdev_handshake *handshake)
{
	handshake->whole = 0;
	handshake->used = 0;
	handshake->dropping = handshake->header_have > 0;
}
