// SPDX-License-Identifier: GPL-2.0
/*
 * tlsdev: TLS connections as files. A program writes to a ctl what it wants, an
 * agent in user space makes the handshake, and what the program then reads and
 * writes runs through the kernel's own TLS. tlsdev.h tells the whole of it.
 */

#include <linux/module.h>

#include "agent.h"
#include "connection.h"
#include "device.h"

static int __init tlsdev_init(void)
{
	int ret;

	ret = tlsdev_connection_init();
	if (ret)
		return ret;
	ret = tlsdev_agent_init();
	if (ret)
		goto err_connection;
	ret = tlsdev_device_init();
	if (ret)
		goto err_agent;
	return 0;

err_agent:
	tlsdev_agent_exit();
err_connection:
	tlsdev_connection_exit();
	return ret;
}

static void __exit tlsdev_exit(void)
{
	tlsdev_device_exit();
	tlsdev_agent_exit();
	tlsdev_connection_exit();
}

module_init(tlsdev_init);
module_exit(tlsdev_exit);

MODULE_DESCRIPTION("TLS connections as files");
MODULE_AUTHOR("The tlsfs authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1");
/* The agent sets the "tls" ULP on sockets; without the module that fails with ENOENT. */
MODULE_SOFTDEP("pre: tls");
