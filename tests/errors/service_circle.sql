CREATE FEATURE SERVICE s AS
SELECT p.seats
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN plane_model p ON p.tailnum = m.example
LEFT JOIN model_stats m ON m.model = p.model;
