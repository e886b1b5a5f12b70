DROP SOURCE departures;
ALTER SOURCE departures ADD COLUMN x INT;
