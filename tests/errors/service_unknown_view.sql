CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_lod o ON o.airport = r.origin
LEFT JOIN departures p ON p.origin = r.origin
LEFT JOIN x.y z ON z.airport = r.origin
LEFT JOIN (SELECT 1) q ON q.a = r.origin;
