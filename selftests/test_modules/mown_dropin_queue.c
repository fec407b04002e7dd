// SPDX-License-Identifier: GPL-2.0
/*
 * Puts buffers of its own into the receive queue of a socket, as the drivers do
 * that hand their kmalloc()ed receive buffers to build_skb(): nothing pins the
 * module, and the network core frees the buffer when the data has been read or
 * the socket goes away, be that after the module.
 *
 * Write to its parameters: the number of a socket's file descriptor to "small"
 * or "big" to queue a buffer that was allocated there; a number of bytes to
 * "forget" to allocate so much and lose it.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <net/sock.h>

/* Of whole size classes: build_skb() takes what is left of the last one. */
#define SMALL_BUFFER 1024
#define BIG_BUFFER 4096

static bool fail;
module_param(fail, bool, 0444);
MODULE_PARM_DESC(fail, "fail to load, three buffers having been forgotten");

static int queue(const char *val, void *data)
{
	static const char text[] = "from a module that may be gone";
	struct socket *sock;
	struct sk_buff *skb;
	int fd, err;

	err = kstrtoint(val, 0, &fd);
	if (err)
		goto free_data;
	err = -ENOMEM;
	if (!data)
		return err;
	sock = sockfd_lookup(fd, &err);
	if (!sock)
		goto free_data;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	skb = build_skb(data, 0);
#else
	skb = slab_build_skb(data);
#endif
	if (!skb) {
		err = -ENOMEM;
		goto put_sock;
	}
	/* From here on the buffer is the socket buffer's. */
	data = NULL;
	skb_put_data(skb, text, sizeof(text) - 1);
	err = sock_queue_rcv_skb(sock->sk, skb);
	if (err)
		kfree_skb(skb);
put_sock:
	sockfd_put(sock);
free_data:
	kfree(data);
	return err;
}

static noinline void *queue_small_buffer(void)
{
	return kmalloc(SMALL_BUFFER, GFP_KERNEL);
}

static noinline void *queue_big_buffer(void)
{
	return kzalloc(BIG_BUFFER, GFP_KERNEL);
}

static noinline void *forget_buffer(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

static int small_set(const char *val, const struct kernel_param *kp)
{
	return queue(val, queue_small_buffer());
}

static int big_set(const char *val, const struct kernel_param *kp)
{
	return queue(val, queue_big_buffer());
}

static int forget_set(const char *val, const struct kernel_param *kp)
{
	unsigned int size;
	int err = kstrtouint(val, 0, &size);

	if (err)
		return err;
	return forget_buffer(size) ? 0 : -ENOMEM;
}

static const struct kernel_param_ops small_ops = { .set = small_set };
module_param_cb(small, &small_ops, NULL, 0200);
MODULE_PARM_DESC(small, "queue a small buffer on this socket");

static const struct kernel_param_ops big_ops = { .set = big_set };
module_param_cb(big, &big_ops, NULL, 0200);
MODULE_PARM_DESC(big, "queue a big buffer on this socket");

static const struct kernel_param_ops forget_ops = { .set = forget_set };
module_param_cb(forget, &forget_ops, NULL, 0200);
MODULE_PARM_DESC(forget, "lose a buffer of this size");

static int __init mown_dropin_queue_init(void)
{
	int i;

	if (!fail)
		return 0;
	for (i = 1; i <= 3; i++) {
		if (!kmalloc(100 * i, GFP_KERNEL))
			return -ENOMEM;
	}
	return -ENODEV;
}
module_init(mown_dropin_queue_init);

static void __exit mown_dropin_queue_exit(void)
{
}
module_exit(mown_dropin_queue_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: buffers that the kernel frees when the module is gone");
MODULE_INFO(test, "Y");
