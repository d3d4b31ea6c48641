/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Room for the verdicts of programs that can be preempted (LSM, fmod_ret):
 * they must not share per-CPU memory, so a slot is taken for the time of one
 * verdict and given back after it. No slot free is a verdict too: deny in
 * Protect, and untold() counts it.
 *
 * Every object has a map of slots of its own; the agent sets its size when it
 * loads the object (SLOTS_PER_CPU for each processor).
 */
#ifndef GABION_SLOTS_H
#define GABION_SLOTS_H

#include "process_maps.h"

#define SLOTS_PER_CPU 4

/* An object may define what its verdicts need besides. */
#ifndef SLOT_MORE
#define SLOT_MORE
#endif

struct slot {
	struct scratch sc;
	SLOT_MORE
	__u32 busy;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS_PER_CPU);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

static __always_inline struct slot *take_slot(void)
{
	__u32 i, at = bpf_get_smp_processor_id() * SLOTS_PER_CPU;
	struct slot *slot;

	for (i = 0; i < SLOTS_PER_CPU; i++, at++) {
		slot = bpf_map_lookup_elem(&slots, &at);
		if (slot && !__sync_val_compare_and_swap(&slot->busy, 0, 1))
			return slot;
	}
	return NULL;
}

static __always_inline void give_slot(struct slot *slot)
{
	__sync_val_compare_and_swap(&slot->busy, 1, 0);
}

/* A cause that no room was left to tell apart. */
static __noinline void untold(__u32 cid)
{
	__u64 one = 1, *n = bpf_map_lookup_elem(&overflow, &cid);

	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&overflow, &cid, &one, BPF_ANY);
}

#endif
