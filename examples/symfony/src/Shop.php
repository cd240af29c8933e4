<?php

namespace App;

/** What the shop knows, in one JSON file that all instances read, and change one at a time. No HTTP here. */
final class Shop
{
    public const NAME = '/^[a-z][a-z0-9]{0,19}$/D';

    private string $file;
    private string $secret;

    public function __construct(string $file, string $secret)
    {
        $this->file = $file;
        $this->secret = $secret;
    }

    /** Opens the shop with these books. */
    public static function open(string $file, array $books): void
    {
        $books = array_column(array_map(static fn (array $book) => $book + ['reviews' => []], $books), null, 'id');
        file_put_contents($file, json_encode(['books' => $books, 'members' => [], 'talk' => []]));
    }

    public function books(): array
    {
        return $this->read()['books'];
    }

    public function book(string $id): ?array
    {
        return $this->books()[$id] ?? null;
    }

    /** The five best-selling books. */
    public function top(): array
    {
        $books = $this->books();
        uasort($books, self::bestFirst());

        return \array_slice($books, 0, 5);
    }

    /** The latest reviews of all books, the newest first, each with member, book and text. */
    public function talk(): array
    {
        ['talk' => $talk, 'books' => $books] = $this->read();
        $said = static fn (array $said) => ['member' => $said[0], 'book' => $books[$said[1]], 'text' => $said[2]];

        return array_map($said, array_reverse(\array_slice($talk, -4)));
    }

    /** What somebody may like: from the shelves of what they have and look at first, there the best-selling first. */
    public function recommended(?array $member, ?array $book): array
    {
        $books = $this->books();
        $owned = $member ? [...$member['basket'], ...$member['bought']] : [];
        $near = array_map(static fn (string $id) => $books[$id]['shelf'], $owned);
        if ($book) {
            $near[] = $book['shelf'];
        }
        $wanted = array_filter($books, static fn (array $other) => !\in_array($other['id'], [...$owned, $book['id'] ?? ''], true));
        uasort($wanted, self::bestFirst($near));

        return array_values($wanted);
    }

    private static function bestFirst(array $near = []): \Closure
    {
        $rank = static fn (array $book) => [!\in_array($book['shelf'], $near, true), -$book['sold'], $book['id']];

        return static fn (array $one, array $other) => $rank($one) <=> $rank($other);
    }

    public function join(string $name): void
    {
        $this->change(static function (array &$shop) use ($name) {
            $shop['members'][$name] ??= ['name' => $name, 'basket' => [], 'bought' => []];
        });
    }

    public function put(string $name, string $book): void
    {
        $this->change(static function (array &$shop) use ($name, $book) {
            $basket = &$shop['members'][$name]['basket'];
            $basket = array_values(array_unique([...$basket, $book]));
        });
    }

    public function order(string $name): void
    {
        $this->change(static function (array &$shop) use ($name) {
            $member = &$shop['members'][$name];
            foreach ($member['basket'] as $id) {
                $shop['books'][$id]['sold'] += 50;
            }
            $member['bought'] = [...$member['bought'], ...$member['basket']];
            $member['basket'] = [];
        });
    }

    public function review(string $name, string $book, string $text): void
    {
        $this->change(static function (array &$shop) use ($name, $book, $text) {
            $shop['books'][$book]['reviews'][] = ['member' => $name, 'text' => $text];
            $shop['talk'][] = [$name, $book, $text];
        });
    }

    /** What a member's cookie holds: the name, and a proof that it was us who wrote it. */
    public function ticket(string $name): string
    {
        return $name.'.'.hash_hmac('sha256', $name, $this->secret);
    }

    /** The member whose ticket this is, or null. */
    public function member(?string $ticket): ?array
    {
        $name = strstr($ticket ?? '', '.', true);
        if (!$name || !preg_match(self::NAME, $name) || !hash_equals($this->ticket($name), $ticket)) {
            return null;
        }

        return $this->read()['members'][$name] ?? null;
    }

    private function read(): array
    {
        $file = fopen($this->file, 'r');
        flock($file, \LOCK_SH);

        return json_decode(stream_get_contents($file), true, 512, \JSON_THROW_ON_ERROR);
    }

    private function change(callable $how): void
    {
        $file = fopen($this->file, 'r+');
        flock($file, \LOCK_EX);
        $shop = json_decode(stream_get_contents($file), true, 512, \JSON_THROW_ON_ERROR);
        $how($shop);
        rewind($file);
        ftruncate($file, 0);
        fwrite($file, json_encode($shop, \JSON_THROW_ON_ERROR));
        fclose($file);
    }
}
