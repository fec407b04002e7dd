// SPDX-License-Identifier: GPL-2.0
/*
 * Gives memory of its own to the kernel, which frees it by itself: lawfully,
 * while the module has it allocated, or as the second free of what the module
 * has freed already.
 *
 * Write "PATH live" or "PATH quarantined" to the parameter "free"; the paths
 * are in the table below. The debugfs file is one more: opening it gives the
 * kernel a buffer and private data that it frees when the file is closed, "seq"
 * frees them before that. "reuse" is about what happens to an address that the
 * kernel has freed while it was in quarantine.
 *
 * A name in parentheses is the kernel's own function, not the drop-in's.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>

/* ---- Kernel functions that free what they are given ---- */

struct object {
	char before[40];
	struct rcu_head rcu;
	char after[100];
};

static void (*const release_value)(const void *ptr) = kfree;

static int by_value(bool freed)
{
	void *ptr = kmalloc(72, GFP_KERNEL);

	if (!ptr)
		return -ENOMEM;
	if (freed)
		kfree(ptr);
	release_value(ptr);
	return 0;
}

static int by_kvfree(bool freed)
{
	void *ptr = kzalloc(200, GFP_KERNEL);

	if (!ptr)
		return -ENOMEM;
	if (freed)
		kfree(ptr);
	(kvfree)(ptr);
	return 0;
}

static int by_kfree_rcu(bool freed)
{
	struct object *object = kmalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	if (freed)
		kfree(object);
	kvfree_rcu_arg_2(object, rcu);
	return 0;
}

#define BULK 5

static int by_kfree_bulk(bool freed)
{
	void *ptrs[BULK];
	int i;

	for (i = 0; i < BULK; i++) {
		ptrs[i] = kmalloc(i < BULK - 1 ? 64 << i : 20000, GFP_KERNEL);
		if (!ptrs[i])
			goto nomem;
	}
	for (i = 0; freed && i < BULK; i++)
		kfree(ptrs[i]);
	(kmem_cache_free_bulk)(NULL, BULK, ptrs);
	return 0;
nomem:
	while (i--)
		kfree(ptrs[i]);
	return -ENOMEM;
}

/* Waits for a grace period, then is freed by the module: refused. */
static int by_kfree_rcu_first(bool freed)
{
	struct object *object = kmalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	rcu_read_lock();
	kvfree_rcu_arg_2(object, rcu);
	if (freed)
		kfree(object);
	rcu_read_unlock();
	return 0;
}

/* ---- A kobject: its name is freed by the kernel ---- */

static void thing_release(struct kobject *kobj)
{
	kfree(kobj);
}

static const struct kobj_type thing_type = {
	.release = thing_release,
	.sysfs_ops = &kobj_sysfs_ops,
};

static int by_kobject(bool freed)
{
	struct kobject *kobj = kzalloc(sizeof(*kobj), GFP_KERNEL);
	const char *name;
	int err;

	if (!kobj)
		return -ENOMEM;
	kobject_init(kobj, (struct kobj_type *)&thing_type);
	name = kstrdup("a-thing-of-" KBUILD_MODNAME, GFP_KERNEL);
	kobj->name = name;
	err = name ? kobject_add(kobj, &THIS_MODULE->mkobj.kobj, NULL) :
		     -ENOMEM;
	if (!err && freed)
		kfree(name);
	kobject_put(kobj);
	return err;
}

/* ---- A network device: its alias is freed by the kernel, now or by RCU ---- */

static const struct net_device_ops device_ops;

static struct net_device *new_device(struct dev_ifalias **alias)
{
	struct net_device *dev;
	int err;

	dev = alloc_netdev(100, "mown%d", NET_NAME_ENUM, ether_setup);
	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->netdev_ops = &device_ops;
	eth_hw_addr_random(dev);
	err = register_netdev(dev);
	if (err)
		goto free_dev;
	*alias = kzalloc(sizeof(**alias) + 32, GFP_KERNEL);
	if (!*alias) {
		err = -ENOMEM;
		goto unregister;
	}
	strscpy((*alias)->ifalias, "a test device", 32);
	rtnl_lock();
	rcu_assign_pointer(dev->ifalias, *alias);
	rtnl_unlock();
	return dev;
unregister:
	unregister_netdev(dev);
free_dev:
	free_netdev(dev);
	return ERR_PTR(err);
}

static int by_netdev(bool freed)
{
	struct dev_ifalias *alias;
	struct net_device *dev = new_device(&alias);

	if (IS_ERR(dev))
		return PTR_ERR(dev);
	if (freed)
		kfree(alias);
	unregister_netdev(dev);
	free_netdev(dev);
	return 0;
}

static int by_netdev_rcu(bool freed)
{
	struct dev_ifalias *alias;
	struct net_device *dev = new_device(&alias);

	if (IS_ERR(dev))
		return PTR_ERR(dev);
	if (freed)
		kfree(alias);
	rtnl_lock();
	dev_set_alias(dev, NULL, 0);
	rtnl_unlock();
	unregister_netdev(dev);
	free_netdev(dev);
	return 0;
}

/* ---- Memory that the kernel allocated, and the module has to free ---- */

static int of_kernel(bool unused)
{
	char *path = kobject_get_path(&THIS_MODULE->mkobj.kobj, GFP_KERNEL);

	if (!path)
		return -ENOMEM;
	kfree(path);
	return 0;
}

/* ---- A seq_file: its buffer and private data are freed by the kernel ---- */

static struct dentry *face;
static void *seq_private, *seq_buffer;

static void *seq_begin(struct seq_file *m, loff_t *pos)
{
	return *pos ? NULL : m->private;
}

static void *seq_advance(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return NULL;
}

static void seq_end(struct seq_file *m, void *v)
{
}

static int seq_line(struct seq_file *m, void *v)
{
	seq_printf(m, "%s\n", (char *)m->private);
	return 0;
}

static const struct seq_operations seq_ops = {
	.start = seq_begin,
	.next = seq_advance,
	.stop = seq_end,
	.show = seq_line,
};

static int face_open(struct inode *inode, struct file *file)
{
	struct seq_file *m;
	int err = seq_open(file, &seq_ops);

	if (err)
		return err;
	m = file->private_data;
	m->private = kstrdup("private", GFP_KERNEL);
	m->buf = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!m->private || !m->buf) {
		seq_release_private(inode, file);
		return -ENOMEM;
	}
	m->size = PAGE_SIZE;
	seq_private = m->private;
	seq_buffer = m->buf;
	return 0;
}

static const struct file_operations face_fops = {
	.owner = THIS_MODULE,
	.open = face_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

static int by_seq_file(bool freed)
{
	if (!freed)
		return 0;
	kfree(seq_private);
	kfree(seq_buffer);
	return 0;
}

/* ---- The paths ---- */

static const struct freeing {
	const char *name;
	int (*func)(bool freed);
} freeings[] = {
	{ "value", by_value },
	{ "kvfree", by_kvfree },
	{ "kfree_rcu", by_kfree_rcu },
	{ "kfree_rcu_first", by_kfree_rcu_first },
	{ "kfree_bulk", by_kfree_bulk },
	{ "kobject", by_kobject },
	{ "netdev", by_netdev },
	{ "netdev_rcu", by_netdev_rcu },
	{ "seq_file", by_seq_file },
	{ "of_kernel", of_kernel },
};

static int free_set(const char *val, const struct kernel_param *kp)
{
	const char *when = strchr(val, ' ');
	bool freed;
	int i;

	if (!when)
		return -EINVAL;
	if (sysfs_streq(when + 1, "live"))
		freed = false;
	else if (sysfs_streq(when + 1, "quarantined"))
		freed = true;
	else
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(freeings); i++) {
		if (strlen(freeings[i].name) == when - val &&
		    !strncmp(freeings[i].name, val, when - val))
			return freeings[i].func(freed);
	}
	return -EINVAL;
}

static const struct kernel_param_ops free_ops = { .set = free_set };
module_param_cb(free, &free_ops, NULL, 0200);
MODULE_PARM_DESC(free, "PATH live or PATH quarantined");

/* ---- An address that is used again while quarantine still lists it ---- */

#define TENANTS 4096
/* More than quarantine can hold of anything. */
#define CHURN 3000

static char *tenants[TENANTS];
static char reuse_result[80] = "none";

/* Of the size class of struct object, and all blanks. */
#define TENANT_SIZE (sizeof(struct object) - 1)

static char *new_tenant(bool tracked)
{
	return tracked ? kasprintf(GFP_KERNEL, "%*s", (int)TENANT_SIZE, "") :
		       (kasprintf)(GFP_KERNEL, "%*s", (int)TENANT_SIZE, "");
}

static void free_tenant(char *tenant, bool tracked)
{
	if (tracked)
		kfree(tenant);
	else
		(kfree)(tenant);
}

/* Allocate until @where is among the tenants. Returns how many they are. */
static int move_in(const void *where, bool tracked, bool *back)
{
	int n;

	*back = false;
	for (n = 0; n < TENANTS && !*back; n++) {
		tenants[n] = new_tenant(tracked);
		if (!tenants[n])
			break;
		*back = tenants[n] == where;
	}
	return n;
}

static void churn(void)
{
	int i;

	for (i = 0; i < CHURN; i++)
		kfree(kmalloc(24, GFP_KERNEL));
}

/*
 * The module frees an object, and the kernel frees it again, for good. Somebody
 * else gets the memory. When the object's turn comes to leave quarantine, the
 * memory must not be touched.
 */
static int reuse(bool tracked, bool rcu)
{
	struct object *object = kmalloc(sizeof(*object), GFP_KERNEL);
	int i, n, tries = rcu ? 160 : 1, spoilt = 0;
	bool back = false;

	if (!object)
		return -ENOMEM;
	kfree(object);
	if (rcu)
		kvfree_rcu_arg_2(object, rcu);
	else
		(kfree)(object);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	/* Newer kernels keep such objects until there are enough of a size. */
	if (rcu)
		kvfree_rcu_barrier();
#endif
	for (;;) {
		n = move_in(object, tracked, &back);
		if (back || !--tries)
			break;
		while (n--)
			free_tenant(tenants[n], tracked);
		msleep(50);
	}
	churn();
	for (i = 0; i < n; i++) {
		if (strspn(tenants[i], " ") != TENANT_SIZE)
			spoilt++;
		free_tenant(tenants[i], tracked);
	}
	snprintf(reuse_result, sizeof(reuse_result),
		 "reused %d spoilt %d tenants %d", back, spoilt, n);
	return 0;
}

static int reuse_set(const char *val, const struct kernel_param *kp)
{
	if (sysfs_streq(val, "untracked"))
		return reuse(false, false);
	if (sysfs_streq(val, "tracked"))
		return reuse(true, false);
	if (sysfs_streq(val, "rcu"))
		return reuse(false, true);
	return -EINVAL;
}

static int reuse_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", reuse_result);
}

static const struct kernel_param_ops reuse_ops = {
	.set = reuse_set,
	.get = reuse_get,
};
module_param_cb(reuse, &reuse_ops, NULL, 0600);
MODULE_PARM_DESC(reuse, "untracked, tracked or rcu; shows what came of it");

static int __init mown_dropin_kernel_frees_init(void)
{
	face = debugfs_create_file(KBUILD_MODNAME, 0400, NULL, NULL,
				   &face_fops);
	return 0;
}
module_init(mown_dropin_kernel_frees_init);

static void __exit mown_dropin_kernel_frees_exit(void)
{
	debugfs_remove(face);
}
module_exit(mown_dropin_kernel_frees_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: memory that the kernel frees");
MODULE_INFO(test, "Y");
