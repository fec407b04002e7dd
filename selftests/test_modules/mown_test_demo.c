// SPDX-License-Identifier: GPL-2.0
/*
 * The driver of `make demo`: a network card that does not exist, and a driver
 * of it with three bugs as they happen. An error path frees what it has freed
 * already, a buffer is freed by a pointer that has moved on, and the exit
 * function forgets the packets that are still queued.
 */
#include <linux/init.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mown.h>

#define QUEUED_PACKETS 5

struct demo_packet {
	struct list_head list;
	char data[1500];
};

static char *demo_name;
static void *demo_ring;
static LIST_HEAD(demo_queue);

/* Bug 1: the error path frees the ring, and so does its caller. */
static noinline int demo_start(void)
{
	/* The card does not answer. */
	mown_kfree(demo_ring);
	return -EIO;
}

static noinline void demo_reset(void)
{
	demo_ring = mown_kcalloc(32, 16, GFP_KERNEL);
	if (demo_ring && demo_start())
		mown_kfree(demo_ring);
	demo_ring = NULL;
}

/* Bug 2: what is freed is not where the buffer begins. */
static noinline void demo_read_firmware(void)
{
	char *pos = mown_kzalloc(256, GFP_KERNEL);

	if (!pos)
		return;
	pos += 16;	/* skip the header */
	mown_kfree(pos);
}

static noinline void demo_queue_packet(void)
{
	struct demo_packet *packet = mown_kmalloc(sizeof(*packet), GFP_KERNEL);

	if (packet)
		list_add_tail(&packet->list, &demo_queue);
}

static int __init demo_init(void)
{
	unsigned int i;

	demo_name = mown_kasprintf(GFP_KERNEL, "demo%d", 0);
	if (!demo_name)
		return -ENOMEM;
	demo_reset();
	demo_read_firmware();
	for (i = 0; i < QUEUED_PACKETS; i++)
		demo_queue_packet();
	return 0;
}
module_init(demo_init);

/* Bug 3: the queue may not be empty. */
static void __exit demo_exit(void)
{
	mown_kfree(demo_name);
}
module_exit(demo_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: a sample driver with three bugs");
MODULE_INFO(test, "Y");
