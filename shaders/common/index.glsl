// index.glsl - which invocation this is, in grids longer than one axis allows.
#ifndef GEN_INDEX_GLSL
#define GEN_INDEX_GLSL

uint flat_group()
{
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

uint flat_invocation()
{
    return flat_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
}

#endif
