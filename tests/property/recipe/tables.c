/* tables.c - takes the place of samplers/tables.c in the test: its rows and one more of each. */
#include "samplers/tables.h"

#include "samplers/guidance.h"
#include "samplers/schedule.h"
#include "samplers/solver.h"

#define MORE_SAMPLER_ROWS(ROW)  GEN_SAMPLER_ROWS(ROW) ROW(toy)
#define MORE_SCHEDULE_ROWS(ROW) GEN_SCHEDULE_ROWS(ROW) ROW(toy)
#define MORE_GUIDANCE_ROWS(ROW) GEN_GUIDANCE_ROWS(ROW) ROW(toy)

extern const gen_sampler gen_sampler_toy;
extern const gen_schedule_kind gen_schedule_toy;
extern const gen_guidance_kind gen_guidance_toy;

#define ROW(name) &gen_sampler_##name,
const gen_sampler *const gen_samplers[] = {MORE_SAMPLER_ROWS(ROW) NULL};
#undef ROW

#define ROW(name) &gen_schedule_##name,
const gen_schedule_kind *const gen_schedules[] = {MORE_SCHEDULE_ROWS(ROW) NULL};
#undef ROW

#define ROW(name) &gen_guidance_##name,
const gen_guidance_kind *const gen_guidances[] = {MORE_GUIDANCE_ROWS(ROW) NULL};
#undef ROW
