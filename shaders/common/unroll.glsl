// unroll.glsl - UNROLL stands before the loops over a register block, which must be unrolled to stay
// in registers.  Nothing with a barrier inside, and no loop over the depth of a product, may be:
// drivers then compile for minutes.
#ifndef GEN_UNROLL_GLSL
#define GEN_UNROLL_GLSL
#extension GL_EXT_control_flow_attributes : require
#define UNROLL [[unroll]]
#endif
