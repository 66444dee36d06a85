/* double_latents.h - included before everything else, it turns the f32 latents of the sampler layer
 * into doubles, so that published tables can be checked to their last digit. */
#ifndef GEN_TESTS_DOUBLE_LATENTS_H
#define GEN_TESTS_DOUBLE_LATENTS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define float double

#endif
