/* Configurations as `mixtune export` writes them: all knobs. */
#ifndef TEST_CONFIGS_H
#define TEST_CONFIGS_H

#define SM80(tile_n, tile_n8, tile_m, stages, warps_n, warps_m, zero, split_k, raster)                                 \
    "tile_n=" #tile_n ",tile_n8=" #tile_n8 ",tile_m=" #tile_m ",tile_k=0,stages=" #stages ",warps_n=" #warps_n         \
    ",warps_m=" #warps_m ",ctas=1,promote=2,zero=" #zero ",order=1,split_k=" #split_k ",raster=" #raster
#define SM90(tile_m, stages, share_k, cluster_k, stream_k)                                                             \
    "blocks=1,blocks8=0,tile_m=" #tile_m ",tile_k=0,stages=" #stages ",consumers=2,pingpong=0,share_k=" #share_k       \
    ",cluster=1,cluster_k=" #cluster_k ",store=0,ctas=1,promote=2,zero=0,yield=0,split_k=1,stream_k=" #stream_k        \
    ",raster=1"

#endif
