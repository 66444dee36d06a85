/* tables.c - the rows of tables.h as arrays. */
#include "samplers/tables.h"

#include "samplers/guidance.h"
#include "samplers/schedule.h"
#include "samplers/solver.h"

#define ROW(name) &gen_sampler_##name,
const gen_sampler *const gen_samplers[] = {GEN_SAMPLER_ROWS(ROW) NULL};
#undef ROW

#define ROW(name) &gen_schedule_##name,
const gen_schedule_kind *const gen_schedules[] = {GEN_SCHEDULE_ROWS(ROW) NULL};
#undef ROW

#define ROW(name) &gen_guidance_##name,
const gen_guidance_kind *const gen_guidances[] = {GEN_GUIDANCE_ROWS(ROW) NULL};
#undef ROW
