/* wkv_kernels.c - see wkv_kernels.h.
 *
 * Sums are kept as numbers times e^o.  o is measured at an anchor token: behind j tokens the state
 * is (a, b) e^(o - j w), and token j enters as e^(k + (j + 1) w - o), so the decay costs no
 * arithmetic and no rounding of its own.  The anchor moves every few tokens to keep j w small.  o
 * follows the largest exponent only when a token exceeds it by more than e^SLACK; what is summed
 * then stays far from both ends of f32. */
#include "gen/cpu/kernels/wkv_kernels.h"

#include "gen/cpu/kernels/simd_math.h"

#define SLACK 8.0f
#define EMPTY (-1e38f) /* the exponent of a sum of nothing */
enum { ANCHOR_TOKENS = 32 };

typedef struct sums {
    vf a, b, o;
} sums;

typedef struct cursor {
    sums s;
    vf w;
    int j; /* tokens since the anchor */
} cursor;

GEN_INLINE vf load(const float *p, int lanes)
{
    return lanes == VF_WIDTH ? vf_load(p) : vf_load_n(p, lanes);
}

GEN_INLINE void store(float *p, vf x, int lanes)
{
    if (lanes == VF_WIDTH)
        vf_store(p, x);
    else
        vf_store_n(p, x, lanes);
}

GEN_INLINE sums load_sums(const gen_wkv_state *s, int c)
{
    return (sums){vf_load(s->a + c), vf_load(s->b + c), vf_load(s->o + c)};
}

GEN_INLINE void store_sums(gen_wkv_state *s, int c, sums x)
{
    vf_store(s->a + c, x.a);
    vf_store(s->b + c, x.b);
    vf_store(s->o + c, x.o);
}

GEN_INLINE sums no_sums(void)
{
    return (sums){vf_zero(), vf_zero(), vf_set1(EMPTY)};
}

/* Both together, the larger exponent kept. */
GEN_INLINE sums merge(sums x, sums y)
{
    const vf d = vf_sub(x.o, y.o), e = vf_exp(vf_sub(vf_zero(), vf_abs(d))), one = vf_set1(1.0f);
    const vf fx = vf_select_lt(d, vf_zero(), e, one), fy = vf_select_lt(d, vf_zero(), one, e);
    return (sums){vf_fma(fx, x.a, vf_mul(fy, y.a)), vf_fma(fx, x.b, vf_mul(fy, y.b)),
                  vf_max(x.o, y.o)};
}

/* The state behind the tokens seen so far. */
GEN_INLINE sums read_cursor(const cursor *c)
{
    return (sums){c->s.a, c->s.b, vf_fnma(vf_set1((float)c->j), c->w, c->s.o)};
}

GEN_INLINE void add_token(cursor *c, vf k, vf v)
{
    const vf at = vf_fma(vf_set1((float)++c->j), c->w, k);
    vf d = vf_sub(at, c->s.o);
    if (vf_hmax(d) > SLACK) {
        const vf o = vf_select_lt(vf_set1(SLACK), d, at, c->s.o);
        const vf factor = vf_exp(vf_sub(c->s.o, o));
        c->s = (sums){vf_mul(factor, c->s.a), vf_mul(factor, c->s.b), o};
        d = vf_sub(at, o);
    }
    const vf e = vf_exp(d);
    c->s.a = vf_fma(e, v, c->s.a);
    c->s.b = vf_add(c->s.b, e);
    if (c->j == ANCHOR_TOKENS) {
        c->s = read_cursor(c);
        c->j = 0;
    }
}

static void clear(gen_wkv_state *state)
{
    for (int c = 0; c < GEN_WKV_GROUP; c += VF_WIDTH)
        store_sums(state, c, no_sums());
}

static void scan(gen_wkv_state *state, const gen_wkv_tokens *t)
{
    for (int c = 0; c < t->channels; c += VF_WIDTH) {
        const int lanes = t->channels - c < VF_WIDTH ? t->channels - c : VF_WIDTH;
        cursor at = {no_sums(), load(t->w + c, lanes), 0};
        for (int64_t i = 0; i < t->count; i++)
            add_token(&at, load(t->k + i * t->ld_k + c, lanes),
                      load(t->v + i * t->ld_v + c, lanes));
        store_sums(state, c, read_cursor(&at));
    }
}

static void join(gen_wkv_state *total, const gen_wkv_state *part, const float *w, int64_t count,
                 int channels)
{
    for (int c = 0; c < channels; c += VF_WIDTH) {
        const int lanes = channels - c < VF_WIDTH ? channels - c : VF_WIDTH;
        sums s = load_sums(total, c);
        s.o = vf_fnma(vf_set1((float)count), load(w + c, lanes), s.o);
        store_sums(total, c, merge(s, load_sums(part, c)));
    }
}

/* The states right of every token, last token first. */
GEN_INLINE void scan_right(const gen_wkv_tokens *t, int c, int lanes, const gen_wkv_state *after,
                           float *scratch)
{
    cursor right = {load_sums(after, c), load(t->w + c, lanes), 0};
    for (int64_t i = t->count - 1; i >= 0; i--) {
        const sums s = read_cursor(&right);
        float *at = scratch + i * 3 * VF_WIDTH;
        vf_store(at, s.a);
        vf_store(at + VF_WIDTH, s.b);
        vf_store(at + 2 * VF_WIDTH, s.o);
        add_token(&right, load(t->k + i * t->ld_k + c, lanes), load(t->v + i * t->ld_v + c, lanes));
    }
}

GEN_INLINE sums right_of(const float *scratch, int64_t i)
{
    const float *at = scratch + i * 3 * VF_WIDTH;
    return (sums){vf_load(at), vf_load(at + VF_WIDTH), vf_load(at + 2 * VF_WIDTH)};
}

/* Tokens at distance d weigh e^(k - (d - 1) w), the token itself e^(k + u). */
GEN_INLINE void mix_paper(const gen_wkv_tokens *t, int c, int lanes, vf u, sums before, float *y,
                          int64_t ld_y, const float *scratch)
{
    cursor left = {before, load(t->w + c, lanes), 0};
    for (int64_t i = 0; i < t->count; i++) {
        const vf k = load(t->k + i * t->ld_k + c, lanes), v = load(t->v + i * t->ld_v + c, lanes);
        sums s = merge(read_cursor(&left), right_of(scratch, i));
        s = merge(s, (sums){v, vf_set1(1.0f), vf_add(u, k)});
        store(y + i * ld_y + c, vf_div(s.a, s.b), lanes);
        add_token(&left, k, v);
    }
}

/* In the first token's view everything else of the line is at its distance d; within the segment,
 * tokens on the left weigh e^(k - (d - 1) w), and all tokens from the second to this one once more
 * (1 - e^w) e^(k + d w). */
GEN_INLINE void mix_segment(const gen_wkv_tokens *t, int c, int lanes, vf u, sums before, float *y,
                            int64_t ld_y, const float *scratch)
{
    const vf w = load(t->w + c, lanes), growth = vf_sub(vf_set1(1.0f), vf_exp(w));
    cursor left = {no_sums(), w, 0}, own = {no_sums(), vf_sub(vf_zero(), w), 0};
    for (int64_t i = 0; i < t->count; i++) {
        const vf k = load(t->k + i * t->ld_k + c, lanes), v = load(t->v + i * t->ld_v + c, lanes);
        sums earlier = before, right = right_of(scratch, i);
        earlier.o = vf_fnma(vf_set1((float)(i + 1)), w, earlier.o);
        right.o = vf_sub(right.o, w);
        sums s = merge(merge(earlier, read_cursor(&left)), right);
        s = merge(s, (sums){v, vf_set1(1.0f), vf_add(u, k)});
        s.b = vf_add(s.b, vf_set1(1e-6f));
        if (i > 0) {
            add_token(&own, k, v);
            sums g = read_cursor(&own);
            g.a = vf_mul(g.a, growth);
            g.b = vf_mul(g.b, growth);
            s = merge(s, g);
        }
        store(y + i * ld_y + c, vf_div(s.a, s.b), lanes);
        add_token(&left, k, v);
    }
}

static void mix(gen_wkv_form form, const gen_wkv_tokens *t, const float *u,
                const gen_wkv_state *before, const gen_wkv_state *after, float *y, int64_t ld_y,
                float *scratch)
{
    for (int c = 0; c < t->channels; c += VF_WIDTH) {
        const int lanes = t->channels - c < VF_WIDTH ? t->channels - c : VF_WIDTH;
        const vf first = load(u + c, lanes);
        scan_right(t, c, lanes, after, scratch);
        if (form == GEN_WKV_PAPER)
            mix_paper(t, c, lanes, first, load_sums(before, c), y, ld_y, scratch);
        else
            mix_segment(t, c, lanes, first, load_sums(before, c), y, ld_y, scratch);
    }
}

const gen_wkv_kernels GEN_KERNEL(wkv) = {
    .scratch_width = 3 * VF_WIDTH,
    .clear = clear,
    .scan = scan,
    .join = join,
    .mix = mix,
};
