CREATE FEATURE SERVICE s AS
SELECT a.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN plane_model p ON p.tailnum = r.tailnum
LEFT JOIN model_stats m ON m.model = p.model
LEFT JOIN plane_recent e ON e.tailnum = m.example
LEFT JOIN airport_load a ON a.airport = e.last_origin;
