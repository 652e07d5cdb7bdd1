// SPDX-License-Identifier: MIT OR GPL-2.0
/* A device that signals an eventfd from a timer: chapter 12 of docs/guide. */
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "ticker.h"

/* [versions] */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define signal_once(eventfd) eventfd_signal(eventfd, 1)
#else
#define signal_once(eventfd) eventfd_signal(eventfd)
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define timer_delete_sync del_timer_sync
#endif
/* [/versions] */

/* [ticker] */
/* One for each open file. */
struct ticker {
	struct mutex lock;		/* of what starts it */
	struct eventfd_ctx *eventfd;	/* ours until the file is closed */
	struct timer_list timer;
	unsigned long period;
	u32 left;
};

/* Runs in an interrupt: there is no process here whose fds could be looked up, and nothing may sleep. */
static void tick(struct timer_list *timer)
{
	struct ticker *ticker = container_of(timer, struct ticker, timer);

	signal_once(ticker->eventfd);
	if (--ticker->left)
		mod_timer(timer, timer->expires + ticker->period);
}
/* [/ticker] */

static int ticker_open(struct inode *inode, struct file *file)
{
	struct ticker *ticker = kzalloc(sizeof(*ticker), GFP_KERNEL);

	if (!ticker)
		return -ENOMEM;
	mutex_init(&ticker->lock);
	timer_setup(&ticker->timer, tick, 0);
	file->private_data = ticker;
	return 0;
}

/* [ioctl] */
/* Runs in the system call of the program: its fds can be looked up now, and only now. */
static long ticker_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct ticker *ticker = file->private_data;
	struct ticker_start start;
	struct eventfd_ctx *eventfd;
	long result = -EBUSY;

	if (request != TICKER_START)
		return -ENOTTY;
	if (copy_from_user(&start, (void __user *)argument, sizeof(start)))
		return -EFAULT;
	if (!start.count || !start.period_ms)
		return -EINVAL;
	eventfd = eventfd_ctx_fdget(start.eventfd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);

	mutex_lock(&ticker->lock);
	if (!ticker->eventfd) {
		ticker->eventfd = eventfd;
		ticker->period = msecs_to_jiffies(start.period_ms);
		ticker->left = start.count;
		mod_timer(&ticker->timer, jiffies + ticker->period);
		result = 0;
	}
	mutex_unlock(&ticker->lock);
	if (result)
		eventfd_ctx_put(eventfd);
	return result;
}
/* [/ioctl] */

/* [release] */
/* Runs when the last fd of the file is closed, also by the end of the program. */
static int ticker_release(struct inode *inode, struct file *file)
{
	struct ticker *ticker = file->private_data;

	timer_delete_sync(&ticker->timer);
	if (ticker->eventfd)
		eventfd_ctx_put(ticker->eventfd);
	kfree(ticker);
	return 0;
}
/* [/release] */

static const struct file_operations ticker_operations = {
	.owner = THIS_MODULE,
	.open = ticker_open,
	.unlocked_ioctl = ticker_ioctl,
	.release = ticker_release,
};

static struct miscdevice ticker_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ticker",
	.fops = &ticker_operations,
};
module_misc_device(ticker_device);

MODULE_DESCRIPTION("Signals an eventfd from a timer");
MODULE_LICENSE("Dual MIT/GPL");
