CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin
LEFT JOIN airport_load o ON o.airport = r.dest
LEFT JOIN plane_recent o ON o.tailnum = r.tailnum
LEFT JOIN plane_recent r ON r.tailnum = r.tailnum;
