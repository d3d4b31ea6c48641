/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Keyed hashes of names (SipHash-1-3), as guard/kernel/hash.go makes them.
 */
#ifndef GABION_HASH_H
#define GABION_HASH_H

#include "process_maps.h"

#define ROTL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define SIPROUND                                                                                   \
	do {                                                                                       \
		v0 += v1;                                                                          \
		v1 = ROTL(v1, 13) ^ v0;                                                            \
		v0 = ROTL(v0, 32);                                                                 \
		v2 += v3;                                                                          \
		v3 = ROTL(v3, 16) ^ v2;                                                            \
		v0 += v3;                                                                          \
		v3 = ROTL(v3, 21) ^ v0;                                                            \
		v2 += v1;                                                                          \
		v1 = ROTL(v1, 17) ^ v2;                                                            \
		v2 = ROTL(v2, 32);                                                                 \
	} while (0)

/* Functions that are not static are verified once, not at every call: hence
 * their pointers are checked. */

/* Of len (at most 255) bytes in sc->name, whose last word need not be clean. */
__noinline __u64 hash_name(struct scratch *sc, __u32 len)
{
	__u64 v0, v1, v2, v3, m;
	__u32 i;

	if (!sc)
		return 0;
	v0 = sc->k0 ^ 0x736f6d6570736575ull;
	v1 = sc->k1 ^ 0x646f72616e646f6dull;
	v2 = sc->k0 ^ 0x6c7967656e657261ull;
	v3 = sc->k1 ^ 0x7465646279746573ull;

	for (i = 0; i < NAME_BUF / 8; i++) {
		if (i * 8 + 8 > len)
			break;
		m = *(__u64 *)(sc->name + i * 8);
		v3 ^= m;
		SIPROUND;
		v0 ^= m;
	}
	m = (__u64)len << 56;
	if (len & 7 && i < NAME_BUF / 8)
		m |= *(__u64 *)(sc->name + i * 8) & ((1ull << ((len & 7) * 8)) - 1);
	v3 ^= m;
	SIPROUND;
	v0 ^= m;
	v2 ^= 0xff;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

__noinline __u64 hash_pair(struct scratch *sc, __u64 a, __u64 b)
{
	if (!sc)
		return 0;
	*(__u64 *)sc->name = a;
	*(__u64 *)(sc->name + 8) = b;
	return hash_name(sc, 16);
}

#endif
