/* stub.h - a Vulkan loader for tests: libgen-stub-vulkan, named by GEN_VULKAN_LOADER.
 *
 * By itself it offers made-up devices that accept everything and compute nothing, so that every
 * call of a run can be made to fail in turn within a second.  In front of a real loader
 * (GEN_STUB_REAL names it) it passes every call on, but for the one that fails.
 *
 *     GEN_STUB_DEVICES  "discrete:Name:MiB;integrated:..."; kinds as in `gen devices`, or "old"; a
 *                       fourth part is the budget in MiB, told through VK_EXT_memory_budget
 *     GEN_STUB_REAL     the library to pass calls on to
 *     GEN_STUB_FAIL     "7": the 7th call that can fail does; "vkQueueSubmit:2": its second call
 *     GEN_STUB_RESULT   what it answers, -4; else DEVICE_LOST where work is submitted or waited
 *                       for, OUT_OF_DEVICE_MEMORY elsewhere
 *     GEN_STUB_LOSE     a file: the next submission after it appears loses the device, once
 *     GEN_STUB_HANG     a file: once it is there, no work ends any more
 *
 * Tests that have the library loaded use these functions, found with dlsym(). */
#ifndef GEN_TESTS_VULKAN_STUB_H
#define GEN_TESTS_VULKAN_STUB_H

/* The same by call; also resets the counters.  fail NULL: nothing fails.  lasts: all later calls of
 * that function fail, too. */
typedef void stub_set_fn(const char *devices, const char *fail, int result, int lasts);
/* Calls that could have failed since then, and how often one did. */
typedef long stub_count_fn(void);
/* Objects made and not destroyed. */
typedef long stub_live_fn(void);

#endif
