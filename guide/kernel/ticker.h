/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What /dev/ticker and its callers have in common. */
#ifndef TICKER_H
#define TICKER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* [request] */
struct ticker_start {
	__s32 eventfd;		/* where to signal */
	__u32 period_ms;	/* how often */
	__u32 count;		/* how many times */
};

#define TICKER_START _IOW('t', 1, struct ticker_start)
/* [/request] */

#endif
