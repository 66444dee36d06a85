/* denoiser.c - asking several denoisers at once. */
#include "samplers/samplers.h"

#include <assert.h>

#define MAX_AT_ONCE 8

gen_status gen_denoise_all(const gen_denoiser *const *denoisers, int num, const float *x,
                           const gen_point *at, float *const *out, gen_error *err)
{
    int members[MAX_AT_ONCE];
    assert(num <= MAX_AT_ONCE);
    bool is_one_group = num > 1 && denoisers[0]->group;
    for (int i = 0; i < num; i++) {
        members[i] = denoisers[i]->member;
        is_one_group = is_one_group && denoisers[i]->group == denoisers[0]->group;
    }
    if (is_one_group) {
        const gen_denoiser_group *group = denoisers[0]->group;
        return group->run(group->self, x, at, members, num, out, err);
    }
    for (int i = 0; i < num; i++)
        GEN_TRY(denoisers[i]->denoise(denoisers[i]->self, x, at, out[i], err));
    return GEN_OK;
}

void gen_denoiser_free(gen_denoiser *denoiser)
{
    if (denoiser && denoiser->free)
        denoiser->free(denoiser);
}
