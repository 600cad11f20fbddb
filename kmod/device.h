/* SPDX-License-Identifier: GPL-2.0 */
/* The files that programs open: /dev/tls, and each connection's ctl and data. */
#ifndef TLSDEV_DEVICE_H
#define TLSDEV_DEVICE_H

#include <linux/types.h>

struct file;
struct tlsdev_info;

#define TLSDEV_NUMBERS	(1u << 20)	/* as many as a major has minors */

bool tlsdev_device_owns(const struct file *file);
void tlsdev_device_info(struct tlsdev_info *info);

int tlsdev_device_init(void);
void tlsdev_device_exit(void);

#endif
