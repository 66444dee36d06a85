// types.glsl - STORE is how activations lie in memory: float, or float16_t with -DSTORE_F16.  They
// are widened when they are read; all arithmetic is f32.
#ifndef GEN_TYPES_GLSL
#define GEN_TYPES_GLSL
#ifdef STORE_F16
#extension GL_EXT_shader_16bit_storage : require
#define STORE float16_t
#else
#define STORE float
#endif
#endif
