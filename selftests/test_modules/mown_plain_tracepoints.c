// SPDX-License-Identifier: GPL-2.0
/*
 * Shows which of the tracepoints of the allocator's frees somebody is attached
 * to: one that is switched off is a jump that is not taken. Not linked to mown,
 * so that looking does not make an owner.
 */
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

static const char * const tracepoints[] = {
	"kfree", "kmem_cache_free", "mm_page_free", "percpu_free_percpu",
};

struct tracepoints_text {
	char *buf;
	int len;
};

/* Not all of them are exported, but all can be walked. */
static void tracepoints_tell(struct tracepoint *tp, void *data)
{
	struct tracepoints_text *text = data;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tracepoints); i++)
		if (!strcmp(tp->name, tracepoints[i]) &&
		    static_key_enabled(&tp->key))
			text->len += sysfs_emit_at(text->buf, text->len,
						   "%s\n", tp->name);
}

static int probed_get(char *buf, const struct kernel_param *kp)
{
	struct tracepoints_text text = { .buf = buf };

	for_each_kernel_tracepoint(tracepoints_tell, &text);
	return text.len;
}

static const struct kernel_param_ops probed_ops = { .get = probed_get };
module_param_cb(probed, &probed_ops, NULL, 0400);
MODULE_PARM_DESC(probed, "the tracepoints of frees that have a probe");

static int __init mown_plain_tracepoints_init(void)
{
	return 0;
}
module_init(mown_plain_tracepoints_init);

static void __exit mown_plain_tracepoints_exit(void)
{
}
module_exit(mown_plain_tracepoints_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("mown: are the allocator's tracepoints in use?");
MODULE_INFO(test, "Y");
