/* status.h - how a function of the library says that it failed.
 *
 * A function that can fail returns gen_status and takes a gen_error * as its last argument.  The
 * error is filled once, where the failure is known best; callers pass the status up unchanged and
 * may put a place in front of the message.  `err` may be NULL everywhere. */
#ifndef GEN_CORE_STATUS_H
#define GEN_CORE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "gen/gen.h"

#if defined(__GNUC__)
#define GEN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define GEN_PRINTF(f, a)
#endif

/* Fills err with status and a formatted sentence (cut to the buffer, never inside a UTF-8
 * character; control characters are shown as '?') and returns status.  status is not GEN_OK. */
gen_status gen_fail(gen_error *err, gen_status status, const char *format, ...) GEN_PRINTF(3, 4);

/* Adds the remedy, shown on a line of its own after the message.  Returns err->status. */
gen_status gen_hint(gen_error *err, const char *format, ...) GEN_PRINTF(2, 3);

/* Puts "place: " before the message of a failure that is passed up.  Returns err->status. */
gen_status gen_fail_in(gen_error *err, gen_status status, const char *format, ...) GEN_PRINTF(3, 4);

/* Returns at once when the expression fails; for functions that hold nothing to free. */
#define GEN_TRY(expression)                                                                        \
    do {                                                                                           \
        const gen_status try_status_ = (expression);                                               \
        if (try_status_ != GEN_OK)                                                                 \
            return try_status_;                                                                    \
    } while (0)

/* Sizes from outside are multiplied and added through these; false on overflow. */
bool gen_mul_size(size_t a, size_t b, size_t *product);
bool gen_add_size(size_t a, size_t b, size_t *sum);

#endif
