/* test.h - what all tests share: cmocka and a few comparisons. */
#ifndef GEN_TESTS_TEST_H
#define GEN_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/core/status.h"

#define EXPECT_OK(expression)                                                                      \
    do {                                                                                           \
        const gen_status expect_status_ = (expression);                                            \
        if (expect_status_ != GEN_OK)                                                              \
            fail_msg("%s: status %d: %s", #expression, (int)expect_status_, err.message);          \
    } while (0)

#define EXPECT_STATUS(expected, expression)                                                        \
    do {                                                                                           \
        const gen_status expect_status_ = (expression);                                            \
        if (expect_status_ != (expected))                                                          \
            fail_msg("%s: status %d instead of %d: %s", #expression, (int)expect_status_,          \
                     (int)(expected), err.message);                                                \
    } while (0)

#define EXPECT_BETWEEN(value, low, high)                                                           \
    do {                                                                                           \
        const double expect_value_ = (value);                                                      \
        if (!(expect_value_ >= (low) && expect_value_ <= (high)))                                  \
            fail_msg("%s = %.9g is not in [%.9g, %.9g]", #value, expect_value_, (double)(low),     \
                     (double)(high));                                                              \
    } while (0)

#define EXPECT_CONTAINS(text, part)                                                                \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part));                            \
    } while (0)

/* max |a - b| <= tolerance * max(1, max |b|); NaN never passes.  Returns the largest difference. */
static inline double expect_close(const float *a, const float *b, size_t n, double tolerance,
                                  const char *what)
{
    double scale = 1.0, worst = 0.0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        if (fabs((double)b[i]) > scale)
            scale = fabs((double)b[i]);
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) {
            worst = d;
            at = i;
            if (isnan(d))
                break;
        }
    }
    if (!(worst <= tolerance * scale))
        fail_msg("%s: differs by %g at %zu (%g, expected %g), allowed %g", what, worst, at,
                 (double)a[at], (double)b[at], tolerance * scale);
    return worst;
}

#endif
