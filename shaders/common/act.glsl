// act.glsl - the activations, by the polynomials of the CPU backend (gen/cpu/kernels/simd_math.h):
// the built-in exp and tanh of drivers are allowed to be far less exact.  NaN stays NaN, so bounds
// are comparisons, not min and max.
#ifndef GEN_ACT_GLSL
#define GEN_ACT_GLSL

// the values of gen_act
const uint ACT_NONE = 0, ACT_SILU = 1, ACT_GELU = 2, ACT_GELU_TANH = 3, ACT_QUICK_GELU = 4,
           ACT_RELU = 5, ACT_TANH = 6, ACT_SIGMOID = 7, ACT_EXP = 8;

float bounded(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

// 2^n for whole n in [-126, 127]
float power_of_two(float n)
{
    return uintBitsToFloat(uint(int(n) + 127) << 23);
}

// 2^f for |f| <= 1/2
float exp2_fraction(float f)
{
    float p = 1.5345807504897185e-4;
    p = p * f + 1.3399931183090208e-3;
    p = p * f + 9.618488973844541e-3;
    p = p * f + 5.55032877707769e-2;
    p = p * f + 2.402264689078948e-1;
    p = p * f + 6.931472057371978e-1;
    return p * f + 1.0;
}

float exact_exp2(float x)
{
    x = bounded(x, -126.0, 127.49);
    const float n = roundEven(x);
    return exp2_fraction(x - n) * power_of_two(n);
}

// Arguments are kept in [-87.33, 88.37].
float exact_exp(float x)
{
    x = bounded(x, -87.33, 88.37);
    const float n = roundEven(x * 1.4426950408889634);
    precise float f = x - n * 0.693145751953125;
    f = f - n * 1.42860682030941723e-6;
    return exp2_fraction(f * 1.4426950408889634) * power_of_two(n);
}

float gelu(float x)
{
    const float t = abs(x);
    float r = -1.8289148891931975e-6;
    r = r * t + 2.701664315883405e-5;
    r = r * t - 1.2543749823196913e-4;
    r = r * t - 2.905717197888735e-4;
    r = r * t + 7.277798146927963e-3;
    r = r * t - 5.266027738972835e-2;
    r = r * t - 4.5914396028339494e-1;
    r = r * t - 1.1511160053280936;
    r = r * t - 0.999999514618813;
    return (x > 0.0 ? x : 0.0) - t * exact_exp2(r);
}

float tanh_of(float x)
{
    const float t = abs(x);
    if (t < 0.25) {
        const float x2 = x * x;
        float p = -1382.0 / 155925.0;
        p = p * x2 + 62.0 / 2835.0;
        p = p * x2 - 17.0 / 315.0;
        p = p * x2 + 2.0 / 15.0;
        p = p * x2 - 1.0 / 3.0;
        return p * x2 * x + x;
    }
    const float e = exact_exp(-2.0 * t);
    const float y = (1.0 - e) / (1.0 + e);
    return x < 0.0 ? -y : y;
}

float exp_wide(float x)
{
    if (abs(x) < 87.0)
        return exact_exp(x);
    const float half_way = exact_exp(0.5 * x);
    return half_way * half_way;
}

float activate(uint act, float x)
{
    switch (act) {
    case ACT_SILU:
        return x / (1.0 + exact_exp(-x));
    case ACT_GELU:
        return gelu(x);
    case ACT_GELU_TANH:
        return x / (1.0 + exact_exp(-1.5957691216057308 * x * (x * x * 0.044715 + 1.0)));
    case ACT_QUICK_GELU:
        return x / (1.0 + exact_exp(-1.702 * x));
    case ACT_RELU:
        return x < 0.0 ? 0.0 : x;
    case ACT_TANH:
        return tanh_of(x);
    case ACT_SIGMOID:
        return 1.0 / (1.0 + exact_exp(-x));
    case ACT_EXP:
        return exp_wide(x);
    default:
        return x;
    }
}

#endif
