// libcuda.so.1 for a machine without one: a driver that takes kernels and runs none, so that cuDNN makes those plans too whose engines it
// compiles when they are asked for (cudnn_plan_test.cc). It has what cuDNN 9 looks up; all else fails as the toolkit's stub does.
namespace {
enum Result : int { kSuccess = 0, kStub = 34 };
int kept;  // what handles point at
}  // namespace

#define TAKES(f) \
  Result f() { return kSuccess; }
#define FAILS(f) \
  Result f() { return kStub; }
#define GIVES(f) \
  Result f(void** handle) { return *handle = &kept, kSuccess; }

// clang-format off
extern "C" {
GIVES(cuLibraryLoadData) GIVES(cuLibraryGetKernel) GIVES(cuModuleLoadData) GIVES(cuModuleLoadDataEx) GIVES(cuModuleGetFunction)
TAKES(cuLibraryUnload) TAKES(cuModuleUnload) TAKES(cuKernelSetAttribute) TAKES(cuFuncSetAttribute)
FAILS(cuInit) FAILS(cuDriverGetVersion) FAILS(cuDeviceGet) FAILS(cuDeviceGetCount) FAILS(cuDeviceGetAttribute) FAILS(cuGetErrorString)
FAILS(cuGetErrorName) FAILS(cuCtxGetCurrent) FAILS(cuCtxGetDevice) FAILS(cuCtxGetLimit) FAILS(cuCtxPushCurrent) FAILS(cuCtxPopCurrent)
FAILS(cuDevicePrimaryCtxRetain) FAILS(cuDevicePrimaryCtxRelease) FAILS(cuDevicePrimaryCtxReset) FAILS(cuStreamGetCtx)
FAILS(cuStreamSynchronize) FAILS(cuLinkCreate) FAILS(cuLinkCreate_v2) FAILS(cuLinkAddData) FAILS(cuLinkAddData_v2)
FAILS(cuLinkAddFile_v2) FAILS(cuLinkComplete) FAILS(cuLinkDestroy) FAILS(cuLibraryLoadFromFile) FAILS(cuModuleLoadFatBinary)
FAILS(cuModuleGetGlobal_v2) FAILS(cuKernelGetAttribute) FAILS(cuFuncGetAttribute) FAILS(cuMemcpyDtoH_v2) FAILS(cuLaunchKernel)
FAILS(cuLaunchKernelEx) FAILS(cuLaunchCooperativeKernel) FAILS(cuOccupancyMaxPotentialClusterSize)
FAILS(cuOccupancyMaxActiveBlocksPerMultiprocessor) FAILS(cuTensorMapEncodeTiled) FAILS(cuGetProcAddress_v2)
}
