CREATE FEATURE SERVICE planes AS
SELECT i.item, r.origin, upper(r.dest) AS dest, p.departures_1d, p.departures_1d * 2 AS delay
FROM REQUEST (planes VARCHAR[], origin VARCHAR, dest VARCHAR) r CROSS JOIN UNNEST(r.planes) AS i(item) LEFT JOIN plane_recent p ON p.tailnum = i.item;
CREATE FEATURE SERVICE by_origin AS SELECT length(r.origin) + r.departures_1d AS n FROM REQUEST (origin VARCHAR, departures_1d BIGINT) r;
CREATE FEATURE SERVICE by_dest AS SELECT length(r.dest) + r.departures_1d AS n FROM REQUEST (dest VARCHAR, departures_1d BIGINT) r;
CREATE FEATURE SERVICE by_delay AS SELECT r.delay AS n FROM REQUEST (delay DOUBLE) r;
CREATE FEATURE SERVICE by_nothing AS SELECT r.hour AS n FROM REQUEST (hour BIGINT) r;
CREATE MODEL late FROM 'late.onnx' USING planes (input => (departures_1d)) PREDICT (delay DOUBLE FROM score);
CREATE MODEL of_origin FROM 'late.onnx' USING by_origin (input => (n)) PREDICT (last DOUBLE FROM score);
CREATE MODEL of_dest FROM 'late.onnx' USING by_dest (input => (n)) PREDICT (last DOUBLE FROM score);
CREATE MODEL of_delay FROM 'late.onnx' USING by_delay (input => (n)) PREDICT (last DOUBLE FROM score);
CREATE MODEL of_nothing FROM 'late.onnx' USING by_nothing (input => (n)) PREDICT (last DOUBLE FROM score);
CREATE DEPLOYMENT fits AS (first => late, then => of_origin);
CREATE DEPLOYMENT whose AS (first => late, then => of_dest);
CREATE DEPLOYMENT which AS (first => late, then => of_delay);
CREATE DEPLOYMENT apart AS (first => late, then => of_nothing);
