-- Beside Figure 5 of MixLLM (arXiv 2412.14590): K = 4096, N = 4096 and 14336, the mean speed-up over M = 1, 2, 4 ... 1024. The paper's is
-- over torch fp16 on an A100-80G, with what the L2 cache still held. Only where all of these shapes were swept.
-- A shape that several layers have counts once (twin).
WITH paper(n, share, ratio) AS (
    VALUES (4096, 0, 1.96), (4096, 100, 2.76), (4096, 10, 1.88), (4096, 20, 1.88),
           (14336, 0, 2.45), (14336, 100, 2.15), (14336, 10, 2.34), (14336, 20, 2.34)
), torch AS (
    SELECT winner_id, max(ratio) AS ratio FROM asked_peer WHERE peer_family = 'peer:torch-fp16' GROUP BY winner_id
), mine AS (
    SELECT asked.*, torch.ratio AS torch_ratio,
           row_number() OVER (PARTITION BY asked.device, n, k, m, scheme, rows8, group_size, dtype, cache_state, origin
                              ORDER BY layer_order, layer_id) AS twin
    FROM asked LEFT JOIN torch ON torch.winner_id = asked.id
    WHERE k = 4096 AND n IN (4096, 14336) AND m IN (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
)
SELECT mine.n, k, mine.scheme, mine.rows8, group_size, dtype, cache_state,
       CASE WHEN count(ratio_with_quantize) = 11 THEN avg(ratio_with_quantize) END AS ratio_with_quantize,
       CASE WHEN count(mine.ratio) = 11 THEN avg(mine.ratio) END AS ratio,
       CASE WHEN count(torch_ratio) = 11 THEN avg(torch_ratio) END AS ratio_over_torch, paper.ratio AS ratio_of_the_paper,
       max(states_differ) AS states_differ, group_concat(DISTINCT baseline_family) AS baseline_family,
       origin, device_name, uuid, 'A100-80G' AS device_of_the_paper
FROM mine JOIN paper ON paper.n = mine.n AND mine.rows8 = (mine.n * paper.share + 50) / 100
WHERE twin = 1 AND mine.scheme NOT GLOB '*-sym'
GROUP BY origin, device, mine.n, k, mine.scheme, mine.rows8, group_size, dtype, cache_state
HAVING count(*) = 11
ORDER BY origin, device_name, uuid, dtype, group_size, cache_state, mine.n, mine.rows8;
