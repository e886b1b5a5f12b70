CREATE FEATURE SERVICE s AS
SELECT * EXCEPT (n), x.*, o.* EXCLUDE (avg_delay_1h)
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin;
