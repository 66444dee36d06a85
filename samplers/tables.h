/* tables.h - every solver, schedule and guidance there is, one row each, in the order of the help.
 *
 * A row NAME stands for a `const gen_sampler gen_sampler_NAME`, gen_schedule_NAME or
 * gen_guidance_NAME that some file defines; nothing else names them one by one. */
#ifndef GEN_SAMPLERS_TABLES_H
#define GEN_SAMPLERS_TABLES_H

#define GEN_SAMPLER_ROWS(ROW)                                                                      \
    ROW(ddim)                                                                                      \
    ROW(ddim_inverse)                                                                              \
    ROW(euler)                                                                                     \
    ROW(euler_ancestral)                                                                           \
    ROW(heun)                                                                                      \
    ROW(dpmpp_2m)                                                                                  \
    ROW(dpmpp_3m)                                                                                  \
    ROW(dpmpp_2m_sde)                                                                              \
    ROW(dpmpp_3m_sde)                                                                              \
    ROW(unipc)                                                                                     \
    ROW(ddpm)                                                                                      \
    ROW(lcm)                                                                                       \
    ROW(pndm)                                                                                      \
    ROW(repaint)                                                                                   \
    ROW(lms)                                                                                       \
    ROW(tcd)                                                                                       \
    ROW(cm)                                                                                        \
    ROW(scm)                                                                                       \
    ROW(bridge)

#define GEN_SCHEDULE_ROWS(ROW)                                                                     \
    ROW(discrete)                                                                                  \
    ROW(leading)                                                                                   \
    ROW(trailing)                                                                                  \
    ROW(linspace)                                                                                  \
    ROW(sgm_uniform)                                                                               \
    ROW(simple)                                                                                    \
    ROW(karras)                                                                                    \
    ROW(exponential)                                                                               \
    ROW(polyexponential)                                                                           \
    ROW(kl_optimal)                                                                                \
    ROW(beta)                                                                                      \
    ROW(beta_sigmas)                                                                               \
    ROW(ays)                                                                                       \
    ROW(ays_sdxl)                                                                                  \
    ROW(ays_svd)                                                                                   \
    ROW(lcm)                                                                                       \
    ROW(flow)                                                                                      \
    ROW(flow_uniform)                                                                              \
    ROW(flow_table)                                                                                \
    ROW(flow_table_2026)                                                                           \
    ROW(flow_range)                                                                                \
    ROW(respaced)                                                                                  \
    ROW(cm)                                                                                        \
    ROW(scm)                                                                                       \
    ROW(scm_searched)                                                                              \
    ROW(rcm)                                                                                       \
    ROW(rcm_paper)                                                                                 \
    ROW(magi)                                                                                      \
    ROW(magi_shortcut)                                                                             \
    ROW(vibt)                                                                                      \
    ROW(i2sb)                                                                                      \
    ROW(bbdm)

#define GEN_GUIDANCE_ROWS(ROW)                                                                     \
    ROW(cfg)                                                                                       \
    ROW(cfg_w)                                                                                     \
    ROW(dual)                                                                                      \
    ROW(cfg_norm)                                                                                  \
    ROW(cfg_zero)                                                                                  \
    ROW(apg)                                                                                       \
    ROW(apg_u)                                                                                     \
    ROW(magi)

#endif
