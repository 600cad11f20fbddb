/* SPDX-License-Identifier: GPL-2.0 */
/* The agent's descriptor, /dev/tlsagent. tlsdev.h describes the protocol. */
#ifndef TLSDEV_AGENT_H
#define TLSDEV_AGENT_H

#include <linux/types.h>

struct net;
struct tlsdev_connection;

/* Under tlsdev_lock, all three. */
bool tlsdev_agent_present(void);
bool tlsdev_agent_shares_net(const struct net *net);
void tlsdev_agent_tell(struct tlsdev_connection *connection);

int tlsdev_agent_init(void);
void tlsdev_agent_exit(void);

#endif
